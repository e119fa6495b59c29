#!/usr/bin/env python3
"""How fast is Ocellus beside OpenVINO, ONNX Runtime, PyTorch and rten, on this machine, now?

Runs `ocellus bench` and the rivals in `bench/rivals` in turn, each in a fresh process, for several
rounds. Before and after each the machine's own float32 rate is measured (the canary), and the processor
time that everybody else used meanwhile. A sample spoiled by a neighbour is taken again, and marked if it
stays so. Prints a markdown table and writes it, with every sample, to bench/record. The rivals' Python
environment is made in target/bench-venv unless the interpreter that runs this has it.

    python3 bench/compare_rivals.py --ocellus target/release/ocellus [--rounds 3] [--only resnet20-train]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import environment
import provenance
from contenders import OURS, Contender, Setting, ours, rival
from measure import Machine, Sample
from workloads import WORKLOADS


@dataclass
class Result:
    """All samples of one contender."""

    contender: Contender
    samples: list[Sample]
    steady: bool  # whether some sample was undisturbed
    median_ms: float  # the median of the samples' medians
    p10_ms: float
    p90_ms: float

    @property
    def images_per_second(self) -> float:
        """The rate at the median."""
        return self.contender.workload.batch / self.median_ms * 1e3

    @property
    def gflops(self) -> float:
        """The arithmetic rate at the median, by the one count of operations used for everybody."""
        return self.images_per_second * self.contender.workload.flops * 1e-9

    @property
    def real_bytes(self) -> float | None:
        """Largest resident size seen."""
        sizes = [sample.report["real_bytes"] for sample in self.samples if "real_bytes" in sample.report]
        return max(sizes, default=None)


@dataclass
class Outcome:
    """What came of a run."""

    results: list[Result]
    failures: dict[str, str]


# --- who is measured -----------------------------------------------------------------------------


def contenders(args: argparse.Namespace, setting: Setting, failures: dict[str, str]) -> list[Contender]:
    """Everybody, in the order in which a round goes through them; who cannot be set up is a failure."""
    found: list[Contender] = []
    for workload in WORKLOADS:
        if workload.name not in args.only:
            continue
        makers = [lambda words=words, w=workload: rival(w, words, setting) for words in workload.rivals]
        if not args.rivals_only:
            makers.insert(0, lambda w=workload: ours(w, setting))
        for number, make in enumerate(makers):
            try:
                found.append(make())
            except (OSError, subprocess.CalledProcessError) as error:
                failures[f"{workload.title}: contender {number}"] = str(error)
                print(f"{workload.name}: {error}", file=sys.stderr)
    return found


# --- measuring -----------------------------------------------------------------------------------


def run_rounds(
    machine: Machine, everybody: list[Contender], args: argparse.Namespace, failures: dict[str, str]
) -> Outcome:
    """Measures everybody in turn, round after round; who fails once is left out from then on."""
    samples: dict[Contender, list[Sample]] = {contender: [] for contender in everybody}
    for round_number in range(args.rounds):
        for contender in everybody:
            who = f"{contender.workload.title}: {contender.name}"
            if who in failures:
                continue
            try:
                sample = machine.sample(contender.command, args.tries)
            except RuntimeError as error:
                failures[who] = str(error)
                print(f"{contender.workload.name}, {contender.name}: {error}", file=sys.stderr)
                continue
            samples[contender].append(sample)
            progress(round_number, contender, sample, machine)
    results = [result_of(contender, taken, machine) for contender, taken in samples.items() if taken]
    return Outcome(results, failures)


def progress(round_number: int, contender: Contender, sample: Sample, machine: Machine) -> None:
    """One line on standard error."""
    words = f"round {round_number + 1}: {contender.workload.name}, {contender.name}"
    state = "" if machine.undisturbed(sample) else "  (disturbed)"
    print(f"{words}: {sample.report['median_ms']:.2f} ms{state}", file=sys.stderr, flush=True)


def result_of(contender: Contender, samples: list[Sample], machine: Machine) -> Result:
    """Sums up a contender by its undisturbed samples, or by all of them where there is none."""
    good = [sample for sample in samples if machine.undisturbed(sample)]

    def over(pick: Callable[[list[float]], float], key: str) -> float:
        return pick([sample.report[key] for sample in good or samples])

    return Result(
        contender, samples, bool(good),
        over(statistics.median, "median_ms"), over(min, "p10_ms"), over(max, "p90_ms"),
    )  # fmt: skip


# --- reporting -----------------------------------------------------------------------------------


def to_markdown(outcome: Outcome, machine: Machine, args: argparse.Namespace) -> str:
    """The whole record as a page of markdown."""
    about = provenance.describe()
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "onnxruntime", "openvino", "python"))
    head = [
        "# Ocellus beside its rivals",
        "",
        f"{about['date']}, commit {about['commit']}, {about['cpu']} with {about['logical_cpus']} logical "
        f"processors, {args.threads} threads; {versions}.",
        f"The machine's own float32 rate in this run: {machine.peak:.0f} GFLOP/s. Rounds: {args.rounds}. "
        "`*`: every sample was disturbed by other work on the machine.",
    ]
    tables = [table(group, machine.peak) for group in by_workload(outcome.results)]
    failed = [f"FAILED: {who}" for who in outcome.failures]
    return "\n\n".join(["\n".join(head), overview(outcome.results, machine.peak), *tables, *failed]) + "\n"


def overview(results: list[Result], peak: float) -> str:
    """A line for each workload: Ocellus beside the best rival, and what is asked."""
    lines = ["| | Ocellus ms | best rival | its ms | Ocellus is | asked | of peak |"]
    lines.append("|---|---:|---|---:|---:|---:|---:|")
    for group in by_workload(results):
        workload = group[0].contender.workload
        own = next((result for result in group if result.contender.name == OURS), None)
        rivals = [result for result in group if result is not own]
        if not rivals:
            continue
        best = min(rivals, key=lambda result: result.median_ms)
        said = ["not there yet", "", ""]
        if own:
            share = "" if workload.mode == "cold" else f"{own.gflops / peak:.0%}"
            said = [f"{own.median_ms:.2f}", f"**{best.median_ms / own.median_ms:.2f}x**", share]
        cells = [workload.title, said[0], best.contender.name, f"{best.median_ms:.2f}", said[1]]
        lines.append("| " + " | ".join([*cells, f"{workload.asked:g}x", said[2]]) + " |")
    return "\n".join([*lines, *short(results)])


def short(results: list[Result]) -> list[str]:
    """A line for each workload that misses what is asked: what stands in the way."""
    lines = []
    for group in by_workload(results):
        workload = group[0].contender.workload
        own = [result.median_ms for result in group if result.contender.name == OURS]
        rivals = [result.median_ms for result in group if result.contender.name != OURS]
        if own and rivals and min(rivals) / own[0] < workload.asked and workload.limit:
            lines.append(f"- {workload.title} falls short: {workload.limit}")
    return ["", *lines] if lines else []


def by_workload(results: list[Result]) -> list[list[Result]]:
    """The results in groups of one workload each."""
    names = dict.fromkeys(result.contender.workload.name for result in results)
    return [[r for r in results if r.contender.workload.name == name] for name in names]


def table(group: list[Result], peak: float) -> str:
    """The table of one workload. The ratio says how many times as fast as each rival Ocellus is."""
    own = next((result for result in group if result.contender.name == OURS), None)
    lines = [f"## {group[0].contender.workload.title}", ""]
    lines.append("| | median ms | p10 - p90 ms | images/s | GFLOP/s | of peak | Ocellus is | memory MB |")
    lines.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    lines += [table_line(result, own, peak) for result in group]
    return "\n".join(lines + own_words(own))


def own_words(own: Result | None) -> list[str]:
    """What `ocellus bench` says of itself: its plan's memory, and its own measure of the peak."""
    if own is None or "planned_bytes" not in own.samples[-1].report:
        return []
    said = own.samples[-1].report
    return [
        "",
        f"Ocellus by its own account: {said['planned_bytes'] / 1e6:.1f} MB planned, "
        f"{said['real_bytes'] / 1e6:.1f} MB real, {said['fraction_of_peak']:.0%} of peak.",
    ]


def table_line(result: Result, own: Result | None, peak: float) -> str:
    """One contender's line."""
    ratio = f"{result.median_ms / own.median_ms:.2f}x" if own and result is not own else ""
    cells = [
        result.contender.name + ("" if result.steady else " *"),
        f"{result.median_ms:.2f}",
        f"{result.p10_ms:.2f} - {result.p90_ms:.2f}",
        f"{result.images_per_second:.1f}",
        f"{result.gflops:.0f}",
        f"{result.gflops / peak:.0%}",
        ratio,
        f"{result.real_bytes / 1e6:.0f}" if result.real_bytes else "",
    ]
    return "| " + " | ".join(cells) + " |"


def to_json(results: list[Result], machine: Machine, args: argparse.Namespace) -> str:
    """Everything that was measured, one sample a line."""
    head = {
        "environment": provenance.describe(),
        "threads": args.threads,
        "seconds": args.seconds,
        "peak_gflops": machine.peak,
    }
    lines = [
        json.dumps(
            {"workload": result.contender.workload.name, "contender": result.contender.name}
            | {"round": number, "undisturbed": machine.undisturbed(sample)}
            | asdict(sample)
        )
        for result in results
        for number, sample in enumerate(result.samples)
    ]
    return json.dumps(head, indent=1)[:-2] + ',\n "samples": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


# --- the command line ----------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    binary = provenance.ROOT / "target" / "release" / "ocellus"
    parser.add_argument("--ocellus", type=Path, default=binary, help="the binary to measure")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="only these workloads")
    parser.add_argument("--rivals-only", action="store_true", help="leave Ocellus out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long a rival is timed each round")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--tries", type=int, default=3, help="times a disturbed sample is taken")
    parser.add_argument("--raise-priority", action="store_true", help="needs the right to do so (root)")
    parser.add_argument("--no-record", action="store_true", help="print only, write nothing")
    return parser.parse_args()


def main() -> int:
    """Measures, prints and records; the exit status."""
    args = arguments()
    if not args.rivals_only and not args.ocellus.is_file():
        print(f"no binary at {args.ocellus}: build it, or name it with --ocellus", file=sys.stderr)
        return 2
    failures: dict[str, str] = {}
    try:
        environment.enter()
        with tempfile.TemporaryDirectory() as folder:
            setting = Setting(args.ocellus, Path(folder), args.threads, args.seconds)
            everybody = contenders(args, setting, failures)
            machine = Machine(Path(folder), args.threads, args.raise_priority)
            outcome = run_rounds(machine, everybody, args, failures)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"compare_rivals: {error}", file=sys.stderr)
        return 1
    page = to_markdown(outcome, machine, args)
    print(page, end="")
    if not args.no_record:
        provenance.RECORDS.mkdir(parents=True, exist_ok=True)
        stem = provenance.RECORDS / f"{provenance.today()}-rivals"
        stem.with_suffix(".md").write_text(page)
        stem.with_suffix(".json").write_text(to_json(outcome.results, machine, args))
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
