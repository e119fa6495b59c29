#!/usr/bin/env python3
"""How long a fresh process of a command takes, from its start to its end; prints one JSON line.

python bench/rivals/cold.py --runs 8 -- COMMAND...
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def main() -> int:
    """Runs the command again and again; the first time, which fills the file cache, does not count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    times, largest = [], 0
    for _ in range(args.runs):
        start = time.perf_counter()
        child = subprocess.Popen(args.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        words = child.stderr.read() if child.stderr else ""
        _, status, usage = os.wait4(child.pid, 0)
        times.append(time.perf_counter() - start)
        if status:
            print(words, file=sys.stderr)
            return 1
        largest = max(largest, usage.ru_maxrss)
    times = sorted(times[1:])
    line = {
        "median_ms": round(statistics.median(times) * 1e3, 3),
        "p10_ms": round(times[len(times) // 10] * 1e3, 3),
        "p90_ms": round(times[9 * len(times) // 10] * 1e3, 3),
        "steps": len(times),
        "real_bytes": largest * (1 if sys.platform == "darwin" else 1024),
    }
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
