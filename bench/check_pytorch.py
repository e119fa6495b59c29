#!/usr/bin/env python3
"""Does Ocellus compute what PyTorch computes?

Runs resnet18, resnet50 and resnet20 at random weights through `ocellus run` and through PyTorch, and
compares the logits (evaluation and training mode) and, in training mode, the gradient of the mean
softmax cross-entropy with respect to every parameter and to the images. A PyTorch run in float64 tells
how far PyTorch's own float32 is from the truth.

    python bench/check_pytorch.py --ocellus target/release/ocellus [--record]

Exits with 1 when a tensor differs by more than its limit, with 2 on bad arguments.
"""

import argparse
import copy
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import provenance
from smooth_point import Problem, make_problem

#: Images in a batch, for each network that is checked.
BATCH = {"resnet18": 4, "resnet50": 4, "resnet20": 16}
OUTPUT_LIMIT = 1e-5
GRADIENT_LIMIT = 1e-4
SHOWN = 10  # tensors that failed, named below the table

Arrays = dict[str, np.ndarray]  # `output`, and in training mode `grad:NAME` for each gradient
Runner = Callable[[Problem, bool], Arrays]


class CheckError(Exception):
    """A comparison that could not be made, as one sentence."""


# --- the two sides -------------------------------------------------------------------------------


def run_pytorch(problem: Problem, train: bool, dtype: torch.dtype, layout: torch.memory_format) -> Arrays:
    """Logits, and in training mode gradients, from PyTorch in the given precision and layout."""
    model = copy.deepcopy(problem.model).to(dtype).to(memory_format=layout).train(train)
    images = problem.images.to(dtype=dtype, memory_format=layout, copy=True).requires_grad_(train)
    with torch.set_grad_enabled(train):
        logits = model(images)
    found = {"output": logits.detach().numpy()}
    if train:
        F.cross_entropy(logits, problem.labels).backward()
        leaves = {"input": images, **dict(model.named_parameters())}
        found |= {f"grad:{n}": leaf.grad.numpy() for n, leaf in leaves.items() if leaf.grad is not None}
    return found


def run_ocellus(binary: Path, threads: int, folder: Path, problem: Problem, train: bool) -> Arrays:
    """The same from `ocellus run`, through files in `folder`."""
    weights, output, gradients = (folder / n for n in ("w.safetensors", "output.npy", "grads.npz"))
    output.unlink(missing_ok=True)
    gradients.unlink(missing_ok=True)
    write_inputs(problem, folder)
    command = [binary, "run", problem.net, "--weights", weights, "--threads", threads]
    command += ["--input", f"input={folder / 'input.npy'}", "--output", f"output={output}"]
    if train:
        command += ["--input", f"label={folder / 'label.npy'}", "--train-mode"]
        command += ["--backward", "loss", "--grads", gradients]
    call([str(word) for word in command])
    try:
        found = {"output": np.load(output)}
        if train:
            found |= {f"grad:{name}": array for name, array in np.load(gradients).items()}
    except (OSError, ValueError, BadZipFile) as error:
        raise CheckError(f"`ocellus run {problem.net}` left no readable result: {error}") from error
    return found


def write_inputs(problem: Problem, folder: Path) -> None:
    """Weights, images and labels as `ocellus run` reads them."""
    state = problem.model.state_dict().items()
    save_file(
        {name: value.contiguous() for name, value in state if "num_batches" not in name},
        folder / "w.safetensors",
    )
    np.save(folder / "input.npy", problem.images.numpy())
    np.save(folder / "label.npy", problem.labels.numpy().astype(np.float32))


def call(command: list[str]) -> None:
    """Runs a command; its failure becomes a CheckError with its last words."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        raise CheckError(f"cannot start {command[0]}: {error}") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CheckError(f"`ocellus run {command[2]}` exited with {done.returncode}: {words}")


# --- comparing -----------------------------------------------------------------------------------


@dataclass
class Distance:
    """How far one tensor is from another, relative to the other."""

    max: float  # largest absolute difference over largest absolute value
    l2: float  # norm of the difference over norm


@dataclass
class Row:
    """One tensor of one network, compared three ways."""

    net: str
    mode: str
    tensor: str
    limit: float
    ours_vs_f32: Distance
    f32_vs_f64: Distance
    ours_vs_f64: Distance

    @property
    def verdict(self) -> str:
        """`ok` against PyTorch's float32; `ok*` against float64, where PyTorch's float32 itself is off.

        `ok*` asks that PyTorch misses float64 by more than the limit, and Ocellus by no more than it.
        """
        if self.ours_vs_f32.max <= self.limit:
            return "ok"
        pytorch_is_off = self.f32_vs_f64.max > self.limit
        return "ok*" if pytorch_is_off and self.ours_vs_f64.max <= self.f32_vs_f64.max else "FAIL"


def distance(found: np.ndarray, wanted: np.ndarray) -> Distance:
    """The distance of `found` from `wanted`; NaN where either holds one."""
    wanted = wanted.astype(np.float64)
    difference = found.astype(np.float64) - wanted
    tiny = np.finfo(np.float64).tiny
    return Distance(
        max=float(np.abs(difference).max() / max(np.abs(wanted).max(), tiny)),
        l2=float(np.linalg.norm(difference) / max(np.linalg.norm(wanted), tiny)),
    )


def compare(net: str, mode: str, ours: Arrays, f32: Arrays, f64: Arrays) -> list[Row]:
    """One row for each tensor that PyTorch has."""
    missing = sorted(f32.keys() - ours.keys())
    if missing:
        raise CheckError(f"{net}, {mode}: no {', '.join(missing[:5])} ({len(missing)} missing)")
    rows = []
    for name, wanted in f32.items():
        if ours[name].shape != wanted.shape:
            raise CheckError(f"{net}, {mode}: {name} is {ours[name].shape}, should be {wanted.shape}")
        rows.append(
            Row(
                net, mode, name, OUTPUT_LIMIT if name == "output" else GRADIENT_LIMIT,
                ours_vs_f32=distance(ours[name], wanted),
                f32_vs_f64=distance(wanted, f64[name]),
                ours_vs_f64=distance(ours[name], f64[name]),
            )
        )  # fmt: skip
    return rows


def check_net(problem: Problem, runner: Runner) -> tuple[list[Row], list[str]]:
    """All rows of one network in both modes, and the reasons for those that are absent."""
    rows: list[Row] = []
    errors: list[str] = []
    for mode, train in (("eval", False), ("train", True)):
        f32 = run_pytorch(problem, train, torch.float32, torch.contiguous_format)
        f64 = run_pytorch(problem, train, torch.float64, torch.contiguous_format)
        try:
            rows += compare(problem.net, mode, runner(problem, train), f32, f64)
        except CheckError as error:
            errors.append(str(error))
    return rows, errors


# --- reporting -----------------------------------------------------------------------------------


def summary_table(rows: list[Row]) -> str:
    """A markdown table with, for each network and mode, the worst tensor of each kind."""
    heads = ["net", "mode", "what", "worst tensor", "limit"]
    heads += ["ours / f32", "(L2)", "f32 / f64", "(L2)", "ours / f64", "(L2)", "verdict"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for key in dict.fromkeys((row.net, row.mode, kind(row)) for row in rows):
        group = [row for row in rows if (row.net, row.mode, kind(row)) == key]
        lines.append("| " + " | ".join([*key, *summary_cells(group)]) + " |")
    return "\n".join(lines)


def kind(row: Row) -> str:
    """What sort of tensor a row is about."""
    names = {"output": "output", "grad:input": "input gradient"}
    return names.get(row.tensor, "parameter gradients")


def summary_cells(group: list[Row]) -> list[str]:
    """The cells of one line: the maximum of every measure over the group, and the group's verdict."""
    worst = max(group, key=lambda row: nan_last(row.ours_vs_f32.max))
    cells = [worst.tensor.removeprefix("grad:"), f"{worst.limit:.0e}"]
    for pair in ("ours_vs_f32", "f32_vs_f64", "ours_vs_f64"):
        distances = [getattr(row, pair) for row in group]
        cells += [f"{max((d.max for d in distances), key=nan_last):.1e}"]
        cells += [f"{max((d.l2 for d in distances), key=nan_last):.1e}"]
    verdicts = [row.verdict for row in group]
    good = sum(verdict != "FAIL" for verdict in verdicts)
    word = "FAIL" if good < len(group) else "ok*" if "ok*" in verdicts else "ok"
    return [*cells, f"{word} {good}/{len(group)}"]


def nan_last(value: float) -> float:
    """A sort key that counts NaN as the worst value."""
    return math.inf if math.isnan(value) else value


def footnotes(rows: list[Row], errors: list[str]) -> list[str]:
    """What a reader of the table has to know besides."""
    notes = [f"ERROR: {error}" for error in errors]
    off = [row for row in rows if row.f32_vs_f64.max > row.limit]
    if off:
        notes.append(
            f"PyTorch's own float32 is further than the limit from float64 in {len(off)} tensors; "
            "there a difference counts against float64 (ok*)."
        )
    failed = sorted(
        (row for row in rows if row.verdict == "FAIL"), key=lambda r: -nan_last(r.ours_vs_f32.max)
    )
    for row in failed[:SHOWN]:
        notes.append(f"FAIL: {row.net}, {row.mode}, {row.tensor}: {row.ours_vs_f32.max:.1e}")
    if len(failed) > SHOWN:
        notes.append(f"and {len(failed) - SHOWN} more")
    return notes


def record(path: Path, problems: list[Problem], rows: list[Row], errors: list[str]) -> None:
    """Writes everything as JSON, one tensor a line."""
    head = {
        "environment": provenance.describe(),
        "passed": passed(rows, errors),
        "errors": errors,
        "problems": [
            {
                "net": problem.net,
                "images": list(problem.images.shape),
                "kink_margin": significant(problem.kink_margin),
                "pool_margin": significant(problem.pool_margin),
            }
            for problem in problems
        ],
    }
    tensors = ",\n".join("  " + json.dumps(flat(row)) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "tensors": [\n{tensors}\n ]\n}}\n')


def flat(row: Row) -> dict[str, object]:
    """A row as JSON can hold it."""
    pairs = {key: value for key, value in asdict(row).items() if isinstance(value, dict)}
    rounded = {key: {k: significant(v) for k, v in pair.items()} for key, pair in pairs.items()}
    return asdict(row) | rounded | {"verdict": row.verdict}


def significant(value: float) -> float | None:
    """The value to three digits; None for what JSON cannot say."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def passed(rows: list[Row], errors: list[str]) -> bool:
    """Whether every comparison was made and held."""
    return bool(rows) and not errors and all(row.verdict != "FAIL" for row in rows)


# --- testing this script -------------------------------------------------------------------------


def self_test() -> None:
    """PyTorch in another layout must pass; each of four kinds of damage must be noticed."""
    problem = make_problem("resnet20", batch=4, seed=0)

    def honest(problem: Problem, train: bool) -> Arrays:
        return run_pytorch(problem, train, torch.float32, torch.channels_last)

    def damaged(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Runner:
        def runner(problem: Problem, train: bool) -> Arrays:
            found = honest(problem, train)
            return found | {name: change(found[name])} if name in found else found

        return runner

    def forgetful(problem: Problem, train: bool) -> Arrays:
        return {k: v for k, v in honest(problem, train).items() if k != "grad:linear.bias"}

    assert passed(*check_net(problem, honest)), "another correct program must pass"
    bad = {
        "a scaled gradient": damaged("grad:layer2.0.conv1.weight", lambda g: g * 1.001),
        "a NaN": damaged("output", lambda y: np.where(y == y.max(), np.nan, y)),
        "a transposed gradient": damaged("grad:linear.weight", np.transpose),
        "a missing gradient": forgetful,
    }
    for what, runner in bad.items():
        assert not passed(*check_net(problem, runner)), f"{what} must fail"
    row = Row("n", "train", "grad:w", 1e-4, Distance(3e-4, 0), Distance(2e-4, 0), Distance(1e-4, 0))
    assert row.verdict == "ok*", "nearer to float64 than PyTorch, which misses it, must pass"
    assert replace(row, f32_vs_f64=Distance(5e-5, 0)).verdict == "FAIL", "PyTorch was right here"
    print("self-test passed")


# --- the command line ----------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    binary = provenance.ROOT / "target" / "release" / "ocellus"
    parser.add_argument("--ocellus", type=Path, default=binary, help="the binary to check")
    parser.add_argument("--nets", nargs="+", choices=BATCH, default=list(BATCH))
    parser.add_argument("--batch", type=int, help="images in a batch (default: 4, or 16 for resnet20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="leave the random weights as drawn: see README")
    parser.add_argument("--record", action="store_true", help="write bench/record/check_pytorch.json")
    parser.add_argument("--self-test", action="store_true", help="test this script, without Ocellus")
    return parser.parse_args()


def main() -> int:
    """Checks every network asked for; the exit status."""
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.self_test:
        self_test()
        return 0
    if not args.ocellus.is_file():
        print(f"no binary at {args.ocellus}: build it, or name it with --ocellus", file=sys.stderr)
        return 2
    problems: list[Problem] = []
    rows: list[Row] = []
    errors: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for net in args.nets:
            problem = make_problem(net, args.batch or BATCH[net], args.seed, smooth=not args.plain)
            runner = partial(run_ocellus, args.ocellus.resolve(), args.threads, Path(folder))
            more_rows, more_errors = check_net(problem, runner)
            problems, rows, errors = [*problems, problem], rows + more_rows, errors + more_errors
    print(summary_table(rows))
    for note in footnotes(rows, errors):
        print(note)
    if args.record:
        record(provenance.RECORDS / "check_pytorch.json", problems, rows, errors)
    print("passed" if passed(rows, errors) else "failed")
    return 0 if passed(rows, errors) else 1


if __name__ == "__main__":
    sys.exit(main())
