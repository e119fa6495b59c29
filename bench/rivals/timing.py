"""Timing one step again and again, and saying the result as one JSON line."""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

WARM_UP = 3
AT_LEAST = 5


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every rival takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--batch", type=int, required=True)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--seconds", type=float, default=6.0)
    made.add_argument("--once", action="store_true", help="one step and no timing: for cold starts")
    return made


def report(step: Callable[[], object], args: argparse.Namespace) -> None:
    """Times `step`, which handles one batch of images, and prints one JSON line with the quantiles."""
    if args.once:
        step()
        return
    times = sorted(measure(step, args.seconds))
    median = statistics.median(times)
    line = {
        "median_ms": milliseconds(median),
        "p10_ms": milliseconds(times[len(times) // 10]),
        "p90_ms": milliseconds(times[9 * len(times) // 10]),
        "images_per_second": round(args.batch / median, 3),
        "steps": len(times),
        "real_bytes": peak_bytes(),
    }
    print(json.dumps(line), flush=True)


def measure(step: Callable[[], object], seconds: float) -> list[float]:
    """Seconds taken by each step, after a warm-up, for about as long as asked."""
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < AT_LEAST:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return round(seconds * 1e3, 3)


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024
