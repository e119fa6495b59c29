"""What a recorded result must say about where it comes from."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "bench" / "record"


def today() -> str:
    """The date, as in 2026-01-31."""
    return datetime.date.today().isoformat()


def describe() -> dict[str, object]:
    """Date, code version, processor and the versions of the packages compared against."""
    packages = ("torch", "torchvision", "onnxruntime", "openvino", "nncf", "numpy")
    return {
        "date": today(),
        "commit": commit(),
        "cpu": cpu_model(),
        "logical_cpus": os.cpu_count(),
        "python": platform.python_version(),
        **{name: package_version(name) for name in packages},
    }


def package_version(name: str) -> str | None:
    """The installed version of a Python package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of this checkout, with `-dirty` where it has changes; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_model() -> str:
    """The processor's name for itself, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
