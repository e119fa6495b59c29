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
            "1x1 layers of 56x56 pixels run at 70 to 80 % of peak, others at 80 to 90: maps of 25 to 51 MB "
            "come from memory and go there"
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
            "turns: 3.4 or 4.3 ms for us within a minute, 3.8 or 6.6 for ONNX Runtime; in a fast phase 15 % of "
            "the time is depthwise layers (25 to 60 % of peak), 6 % projections to 24 channels (70 %, for they "
            "fill 32 lanes), 4 % the first layer (60 %), the rest products at 80 to 95 %"
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
            "reading 102 MB takes most of the time, and single processes spread from 0.10 to 0.25 s"
        ),
    ),
    Workload(
        "resnet50-infer-bf16", "ResNet-50 inference, batch 1, bfloat16", "resnet50", 1, "infer", RESNET50,
        ("ov bf16",), 1.1, precision="bf16",
        limit=(
            "of twice the f32 peak, 3x3 layers reach 1.75 to 1.85, 1x1 layers that add a residual 1.5 to 1.7, "
            "strided ones 1.3 to 1.6, the first layer 1.2: the longer the epilogue beside the products, the less"
        ),
    ),
    Workload(
        "resnet50-infer-int8", "ResNet-50 inference, batch 1, int8", "resnet50", 1, "infer", RESNET50,
        ("ov int8",), 1.1, precision="int8",
        limit=(
            "of four times the f32 peak, 3x3 layers reach 3.1 to 3.6, 1x1 layers that add a residual 2.4 to "
            "3.1 (their epilogue costs as much as ten steps of the products, of which they have 16 to 128), "
            "the first layer 2.1"
        ),
    ),
    Workload(
        "resnet50-train-bf16", "ResNet-50 training, batch 16, bfloat16", "resnet50", 16, "train", RESNET50,
        ("torch cl+bf16", "torch cl+bf16+compile"), 1.4, precision="bf16",
        limit=(
            "of a step, bf16 products take 54 % (1.5 to 1.7 times the f32 peak), f32 Winograd of the 3x3 "
            "layers 24 %, normalisation 11 %, packing weights 6 %, pairing images 3 %"
        ),
    ),
    Workload(
        "resnet20-train-bf16", "ResNet-20 training, batch 128, bfloat16", "resnet20", 128, "train", RESNET20,
        ("torch cl+bf16+compile",), 1.2, precision="bf16",
    ),
)  # fmt: skip
