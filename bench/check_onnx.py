#!/usr/bin/env python3
"""Do other programs compute from our ONNX files what Ocellus computes?

Gives each network of the zoo random weights, exports it with `ocellus convert`, passes the file through
ONNX's checker (with shape inference), runs it with ONNX Runtime on a batch of two random images, and
compares every output with `ocellus run` of the network itself and of the file read back.

    python bench/check_onnx.py --ocellus target/release/ocellus [--record]

Exits with 1 when a network fails, with 2 on bad arguments.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

import provenance

#: One of each family, and the side of its images.
NETS = {
    "lenet": (1, 28),
    "resnet20": (3, 32),
    "resnet50": (3, 224),
    "resnet50_v2": (3, 224),
    "alexnet": (3, 224),
    "vgg11_bn": (3, 224),
    "squeezenet1_0": (3, 224),
    "googlenet": (3, 224),
    "inception_v3": (3, 299),
    "densenet121": (3, 224),
    "mobilenet_v2": (3, 224),
    "efficientnet_b0": (3, 224),
    "convnext_tiny": (3, 224),
    "caffenet": (3, 227),
}
BATCH = 2
LIMIT = 1e-4


class CheckError(Exception):
    """A comparison that could not be made, as one sentence."""


@dataclass
class Row:
    """What came of one network."""

    net: str
    opset: int
    nodes: int
    bytes: int
    largest: float  # largest number of the output
    spread: float  # its standard deviation: near 0, nothing would be compared
    runtime: float  # ONNX Runtime to Ocellus: largest difference over largest number
    again: float  # the file, read back by Ocellus, to Ocellus
    verdict: str


def check(binary: Path, net: str, seed: int, threads: int, folder: Path) -> Row:
    """Exports and runs one network."""
    plain, weights, model, images = (
        folder / name for name in ("plain.safetensors", "weights.safetensors", "net.onnx", "input.npy")
    )
    common = ["--threads", threads]
    call([binary, "convert", net, plain, "--untrained", "--seed", seed, *common])
    random = np.random.default_rng(seed)
    save_file(unlike_drawn(load_file(plain), random), weights)
    call([binary, "convert", net, model, "--weights", weights, *common])
    channels, side = NETS[net]
    x = random.standard_normal((BATCH, channels, side, side), dtype=np.float32)
    np.save(images, x)
    ours = run_ocellus(binary, [net, "--weights", weights], images, folder, threads)
    again = run_ocellus(binary, [model], images, folder, threads)
    described = onnx.load(model)
    onnx.checker.check_model(described, full_check=True)
    theirs = run_onnxruntime(model, x, threads)
    runtime, back = distance(theirs, ours), distance(again, ours)
    good = runtime <= LIMIT and back <= LIMIT and np.std(ours) > 0
    return Row(
        net=net,
        opset=described.opset_import[0].version,
        nodes=len(described.graph.node),
        bytes=model.stat().st_size,
        largest=float(np.abs(ours).max()),
        spread=float(np.std(ours)),
        runtime=runtime,
        again=back,
        verdict="ok" if good else "FAIL",
    )


def unlike_drawn(
    weights: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Weights in which nothing is 0 or 1 as it is drawn, so that a forgotten bias or statistic shows."""
    changed = {}
    for name, array in sorted(weights.items()):
        noise = random.standard_normal(array.shape, dtype=np.float32)
        if name.endswith("running_var"):
            changed[name] = (np.exp(0.2 * noise) * array).astype(np.float32)
        elif array.ndim == 1:
            changed[name] = (array + 0.1 * noise).astype(np.float32)
        else:
            changed[name] = array
    return changed


def run_ocellus(
    binary: Path, model: list[object], images: Path, folder: Path, threads: int
) -> np.ndarray:
    """The output of a network from `ocellus run`."""
    output = folder / "output.npy"
    output.unlink(missing_ok=True)
    named = ["--input", f"input={images}", "--output", f"output={output}"]
    call([binary, "run", *model, *named, "--threads", threads])
    return np.load(output)


def run_onnxruntime(model: Path, x: np.ndarray, threads: int) -> np.ndarray:
    """The output of the file's network from ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest number; infinite where the shapes differ."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def call(command: list[object]) -> None:
    """Runs a command; its failure becomes a CheckError with its last words."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        raise CheckError(f"cannot start {words[0]}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CheckError(f"`ocellus {' '.join(words[1:3])}` exited with {done.returncode}: {said}")


def table(rows: list[Row]) -> str:
    """A markdown table, one network a line."""
    lines = [
        "| net | nodes | ONNX Runtime to Ocellus | read back to Ocellus | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.net, str(row.nodes), f"{row.runtime:.1e}", f"{row.again:.1e}", row.verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def record(path: Path, rows: list[Row], errors: list[str], passed: bool) -> None:
    """Writes everything as JSON, one network a line."""
    environment = provenance.describe() | {"onnx": provenance.package_version("onnx")}
    head = {"environment": environment, "limit": LIMIT, "batch": BATCH, "passed": passed, "errors": errors}
    lines = ",\n".join("  " + json.dumps(rounded(row)) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(head, indent=1)[:-2] + f',\n "nets": [\n{lines}\n ]\n}}\n')


def rounded(row: Row) -> dict[str, object]:
    """A row with its numbers to three digits."""
    return {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in asdict(row).items()}


def self_test() -> None:
    """The measure must notice damage."""
    wanted = np.linspace(-1, 1, 20, dtype=np.float32)
    assert distance(wanted * 1.00001, wanted) < LIMIT, "rounding must pass"
    assert distance(wanted * 1.001, wanted) > LIMIT, "a scaled output must fail"
    assert distance(wanted[::-1], wanted) > LIMIT, "a mirrored output must fail"
    assert distance(wanted[:10], wanted) > LIMIT, "half an output must fail"
    assert distance(np.where(wanted == 1, np.nan, wanted), wanted) > LIMIT, "a NaN must fail"
    print("self-test passed")


def main() -> int:
    """Checks every network asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    binary = provenance.ROOT / "target" / "release" / "ocellus"
    parser.add_argument("--ocellus", type=Path, default=binary, help="the binary to check")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write bench/record/check_onnx.json")
    parser.add_argument("--self-test", action="store_true", help="test this script, without Ocellus")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return 0
    if not args.ocellus.is_file():
        print(f"no binary at {args.ocellus}: build it, or name it with --ocellus", file=sys.stderr)
        return 2
    rows: list[Row] = []
    errors: list[str] = []
    for net in args.nets:
        with tempfile.TemporaryDirectory() as folder:
            try:
                rows.append(check(args.ocellus.resolve(), net, args.seed, args.threads, Path(folder)))
            except Exception as error:
                # The errors of the checker and of ONNX Runtime have no common parent.
                if not isinstance(error, CheckError) and not type(error).__module__.startswith("onnx"):
                    raise
                errors.append(f"{net}: {str(error).splitlines()[0]}")
    passed = bool(rows) and not errors and all(row.verdict == "ok" for row in rows)
    print(table(rows))
    for error in errors:
        print(f"ERROR: {error}")
    if args.record:
        record(provenance.RECORDS / "check_onnx.json", rows, errors, passed)
    print("passed" if passed else "failed")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
