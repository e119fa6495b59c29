"""The Python environment of the rivals: made once, from the versions that requirements.txt pins."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import provenance

FOLDER = provenance.ROOT / "target" / "bench-venv"
PINNED = Path(__file__).resolve().parent / "requirements.txt"


def enter() -> None:
    """Goes on in an interpreter that has the rivals: this one if it has, else that of target/bench-venv."""
    if provenance.package_version("torch") is not None:
        return
    python = FOLDER / ("Scripts" if os.name == "nt" else "bin") / "python"
    if Path(sys.prefix).resolve() == FOLDER.resolve():
        raise RuntimeError(f"{FOLDER} has no torch: delete that folder and start again")
    if not (FOLDER / "complete").exists():
        print(f"making {FOLDER} with the packages of {PINNED.name}; this takes minutes", file=sys.stderr)
        venv.create(FOLDER, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(PINNED)], check=True)
        (FOLDER / "complete").touch()
    os.execv(python, [str(python), *sys.argv])
