"""Who is measured on a workload: the command that does it, and the files that the command opens."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from workloads import Workload

RIVALS = Path(__file__).resolve().parent / "rivals"
OURS = "Ocellus"
NAMES = {"ort": "ONNX Runtime", "ov": "OpenVINO", "torch": "PyTorch", "rten": "rten"}
COLD_RUNS = 8  # the first is not counted


@dataclass(frozen=True)
class Contender:
    """Somebody who is measured on a workload."""

    workload: Workload
    name: str
    command: tuple[str, ...]  # prints one JSON object with at least `median_ms`


@dataclass(frozen=True)
class Setting:
    """What all commands have in common."""

    ocellus: Path
    folder: Path  # for the files that are opened
    threads: int
    seconds: float


def ours(workload: Workload, setting: Setting) -> Contender:
    """Ocellus on a workload."""
    binary = str(setting.ocellus.resolve())
    if workload.mode != "cold":
        command = (binary, "bench", workload.net, "--batch", str(workload.batch), "--mode", workload.mode)
        if workload.precision != "f32":
            command += ("--precision", workload.precision)
        return Contender(workload, OURS, (*command, "--threads", str(setting.threads), "--json"))
    model, pixels = setting.folder / "ours.safetensors", setting.folder / "x.npy"
    subprocess.run([binary, "convert", onnx_file(workload, setting), model], check=True, capture_output=True)
    files = ("--input", f"input={pixels}", "--output", f"output={setting.folder / 'y.npy'}")
    command = (binary, "run", str(model), *files, "--threads", str(setting.threads))
    return Contender(workload, OURS, cold(command))


def rival(workload: Workload, words: str, setting: Setting) -> Contender:
    """The rival of these words on a workload."""
    system, _, variant = words.partition(" ")
    name = f"{NAMES[system]} {variant}".strip()
    options = ("--batch", str(workload.batch), "--threads", str(setting.threads))
    if workload.mode == "cold":
        options += ("--once",)
    else:
        options += ("--seconds", str(setting.seconds))
    if system == "torch":
        net = ("--net", workload.net, "--variant", variant)
        mode = ("--mode", "infer" if workload.mode == "cold" else workload.mode)
        weights = ("--weights", state_file(workload, setting)) if workload.mode == "cold" else ()
        command = script("torch_rival.py", *net, *mode, *weights, *options)
    elif system == "ort":
        command = script("ort_rival.py", "--model", onnx_file(workload, setting), *options)
    elif system == "ov":
        command = script(
            "ov_rival.py", "--model", onnx_file(workload, setting), "--numbers", variant, *options
        )
    else:
        command = (rten_binary(), onnx_file(workload, setting), str(setting.threads))
    return Contender(workload, name, cold(command) if workload.mode == "cold" else command)


def script(name: str, *words: str) -> tuple[str, ...]:
    """The command of a Python program among the rivals."""
    return (sys.executable, str(RIVALS / name), *words)


def cold(command: tuple[str, ...]) -> tuple[str, ...]:
    """Times whole processes of a command."""
    return script("cold.py", "--runs", str(COLD_RUNS), "--", *command)


def onnx_file(workload: Workload, setting: Setting) -> str:
    """The network as an ONNX file, its state_dict and an image beside it; written when first asked for."""
    file = setting.folder / f"{workload.net}-{workload.batch}.onnx"
    if not file.exists():
        net = ("--net", workload.net, "--batch", str(workload.batch))
        subprocess.run(script("export_onnx.py", *net, str(file)), check=True)
    return str(file)


def state_file(workload: Workload, setting: Setting) -> str:
    """The network's state_dict."""
    return str(Path(onnx_file(workload, setting)).with_suffix(".pt"))


def rten_binary() -> str:
    """The program around rten, built when first asked for."""
    project = RIVALS / "rten"
    target = project.parent.parent.parent / "target" / "bench-rten"
    words = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(project / "Cargo.toml")]
    subprocess.run([*words, "--target-dir", str(target)], check=True)
    return str(target / "release" / "rten_rival")
