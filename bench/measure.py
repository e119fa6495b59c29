"""Running a command on a machine that others may use too, and telling whether they did."""

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PEAK_SOURCE = Path(__file__).resolve().parent / "rivals" / "peak.c"
CANARY_FLOOR = 0.9  # of the best canary: below it somebody took the processor
OTHERS_LIMIT = 0.06  # of the machine's processor time, for everybody but the command
WAITS = 10
WAIT_SECONDS = 2.0
AUTOGROUP = Path("/proc/self/autogroup")


@dataclass
class Sample:
    """What a command reported, and how quiet the machine was meanwhile."""

    report: dict[str, float]
    canaries: tuple[float, float]  # GFLOP/s of the machine before and after
    others: float | None  # share of the processor time used by others; None where unknown


class Machine:
    """The machine, its peak so far, and how commands are run on it."""

    def __init__(self, folder: Path, threads: int, raise_priority: bool) -> None:
        """Builds the canary in `folder` and takes the first measure of the peak."""
        if raise_priority:
            probe_priority()
        self._raise_priority = raise_priority
        self._canary = [str(build_canary(folder)), str(threads)]
        self.peak = 0.0
        for _ in range(3):
            self.canary()

    def canary(self) -> float:
        """The machine's float32 rate at this moment, in GFLOP/s."""
        rate = float(self._run(self._canary))
        self.peak = max(self.peak, rate)
        return rate

    def undisturbed(self, sample: Sample) -> bool:
        """Whether the machine was the command's own, as far as one can tell now."""
        quiet = sample.others is None or sample.others <= OTHERS_LIMIT
        return quiet and min(sample.canaries) >= CANARY_FLOOR * self.peak

    def sample(self, command: Sequence[str], tries: int) -> Sample:
        """Runs a command that prints a JSON object; again while others disturb it, `tries` times."""
        for _ in range(max(1, tries)):
            before = self._wait_for_quiet()
            busy, own, start = busy_seconds(), children_seconds(), time.perf_counter()
            report = last_json_object(self._run(command), command)
            elapsed = time.perf_counter() - start
            others = share_of_others(busy, busy_seconds(), children_seconds() - own, elapsed)
            sample = Sample(report, (before, self.canary()), others)
            if self.undisturbed(sample):
                break
        return sample

    def _wait_for_quiet(self) -> float:
        """The canary, once it is good or patience is at its end."""
        for _ in range(WAITS):
            rate = self.canary()
            if rate >= CANARY_FLOOR * self.peak:
                break
            time.sleep(WAIT_SECONDS)
        return rate

    def _run(self, command: Sequence[str]) -> str:
        """Standard output of a command; a RuntimeError says why there is none."""
        prepare = raise_own_priority if self._raise_priority else None
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                start_new_session=True,
                preexec_fn=prepare,
            )
        except OSError as error:
            raise RuntimeError(f"cannot start {command[0]}: {error}") from error
        if done.returncode != 0:
            words = " ".join(command)
            raise RuntimeError(f"exit status {done.returncode} from: {words}\n{done.stderr.strip()}")
        return done.stdout


def build_canary(folder: Path) -> Path:
    """Compiles peak.c into `folder`."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("a C compiler (cc, gcc or clang) is needed for the machine's own rate")
    binary = folder / "peak"
    options = ["-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
    subprocess.run([compiler, *options, str(PEAK_SOURCE), "-o", str(binary)], check=True)
    return binary


def last_json_object(output: str, command: Sequence[str]) -> dict[str, float]:
    """The JSON object that a command printed last, on one line or as all of its output."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    for text in (output, *reversed(lines)):
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(found, dict) and "median_ms" in found:
            return found
    raise RuntimeError(f"no JSON object with median_ms from: {' '.join(command)}")


def busy_seconds() -> float | None:
    """Processor time used on the whole machine since it started; None off Linux."""
    try:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor time of all finished children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def share_of_others(before: float | None, after: float | None, own: float, elapsed: float) -> float | None:
    """The share of the machine's time that was used by neither us nor our children."""
    if before is None or after is None:
        return None
    return round(max(0.0, after - before - own) / elapsed / (os.cpu_count() or 1), 3)


def probe_priority() -> None:
    """Fails with one sentence where the priority may not be raised."""
    if os.geteuid() != 0:
        raise RuntimeError("--raise-priority needs root")


def raise_own_priority() -> None:
    """In a new process, before its command starts: first in line, and its session as well.

    Linux shares the processor out between login sessions first (autogroup), by the session's own value.
    """
    os.nice(-20)
    if AUTOGROUP.exists():
        AUTOGROUP.write_text("-20")
