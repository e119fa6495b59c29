"""What is measured, against whom, and what is asked of the ratio to the best of them."""

from dataclasses import dataclass

RESNET50 = 4_089_184_256  # multiply-adds of one image's forward pass
RESNET20 = 40_551_040
LENET = 2_293_000
VGG16 = 15_470_264_320
SQUEEZENET = 349_152_000
MOBILENET_V2 = 300_774_272


@dataclass(frozen=True)
class Workload:
    """One network at one batch size, and who is measured on it.

    A rival is a system and its variant: `ort`, `ov f32`, `torch cl+fused`, `rten`.
    """

    name: str
    title: str
    net: str
    batch: int
    mode: str  # infer, train, or cold: a fresh process that loads, classifies once and ends
    macs: int
    rivals: tuple[str, ...]
    asked: float  # times as fast as the best rival
    precision: str = "f32"  # what Ocellus computes with
    limit: str = ""  # what stands in the way of a row that falls short

    @property
    def flops(self) -> float:
        """Operations for one image; backward counts as twice forward."""
        return 2 * self.macs * (3 if self.mode == "train" else 1)


WORKLOADS = (
    Workload(
        "resnet50-infer", "ResNet-50 inference, batch 1", "resnet50", 1, "infer", RESNET50,
        ("ov f32", "ort", "torch jit"), 1.2,
    ),
    Workload(
        "resnet50-infer-16", "ResNet-50 inference, batch 16", "resnet50", 16, "infer", RESNET50,
        ("ov f32", "ort"), 1.25,
        limit=(
            "direct layers run at 92 to 98 % of peak and most 3x3 ones by Winograd; what is left is "
            "memory between layers"
        ),
    ),
    Workload(
        "vgg16-infer", "VGG-16 inference, batch 1", "vgg16", 1, "infer", VGG16, ("ov f32", "ort"), 2.3,
    ),
    Workload(
        "squeezenet-infer", "SqueezeNet 1.1 inference, batch 1", "squeezenet1_1", 1, "infer", SQUEEZENET,
        ("ov f32", "ort"), 1.25,
        limit="see MobileNetV2: its median depends on how fast the machine passes lines between the cores",
    ),
    Workload(
        "mobilenet-infer", "MobileNetV2 inference, batch 1", "mobilenet_v2", 1, "infer", MOBILENET_V2,
        ("ov f32", "ort"), 1.3,
        limit=(
            "small layers wait for lines from the other core, which this machine passes fast or slowly by "
            "turns: 3.5 or 5.9 ms for us within a minute, 3.8 or 6.6 for ONNX Runtime; depthwise layers "
            "move memory"
        ),
    ),
    Workload(
        "resnet50-train", "ResNet-50 training, batch 16", "resnet50", 16, "train", RESNET50,
        ("torch eager", "torch cl", "torch cl+compile"), 1.4,
    ),
    Workload(
        "resnet20-train", "ResNet-20 training, batch 128", "resnet20", 128, "train", RESNET20,
        ("torch eager", "torch cl", "torch cl+compile"), 1.4,
    ),
    Workload(
        "lenet-train", "LeNet training, batch 64", "lenet", 64, "train", LENET,
        ("torch eager", "torch cl+fused"), 1.6,
        limit="20 and 50 channels fill 32 and 64 lanes",
    ),
    Workload(
        "resnet50-cold", "ResNet-50, cold start", "resnet50", 1, "cold", RESNET50,
        ("rten", "ort", "torch eager"), 1.3,
        limit=(
            "reading 102 MB and touching as much new memory takes both of us most of the time; samples "
            "spread from 0.12 to 0.29 s"
        ),
    ),
    Workload(
        "resnet50-infer-bf16", "ResNet-50 inference, batch 1, bfloat16", "resnet50", 1, "infer", RESNET50,
        ("ov bf16",), 1.1, precision="bf16",
        limit="the first layer (3 channels) reaches 1.4 times the f32 peak, not 2",
    ),
    Workload(
        "resnet50-infer-int8", "ResNet-50 inference, batch 1, int8", "resnet50", 1, "infer", RESNET50,
        ("ov int8",), 1.1, precision="int8",
        limit=(
            "convolutions alone take 9.5 ms; rounding the image to bytes, pooling and some sixty "
            "fork-joins are the rest"
        ),
    ),
    Workload(
        "resnet50-train-bf16", "ResNet-50 training, batch 16, bfloat16", "resnet50", 16, "train", RESNET50,
        ("torch cl+bf16", "torch cl+bf16+compile"), 1.4, precision="bf16",
        limit=(
            "3x3 layers of stride 1 stay with f32 Winograd, and normalisation, pooling and updates move "
            "memory"
        ),
    ),
    Workload(
        "resnet20-train-bf16", "ResNet-20 training, batch 128, bfloat16", "resnet20", 128, "train", RESNET20,
        ("torch cl+bf16+compile",), 1.2, precision="bf16",
    ),
)  # fmt: skip
