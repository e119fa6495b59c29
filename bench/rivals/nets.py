"""The networks under test, as PyTorch modules.

ResNet-18 and ResNet-50 are torchvision's (v1.5: the stride sits in the 3x3 convolution). ResNet-20 has
the parameter-free shortcut "A" of He et al. 2015, section 4.2, and the parameter names of
akamaster/pytorch_resnet_cifar10. LeNet is Caffe's (431,080 parameters).
"""

import torch
import torch.nn.functional as F
import torchvision.models
from torch import Tensor, nn


class CifarBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that subsamples and pads with zero channels."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stride = stride
        self.pad = (channels - channels_in) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        """Every `stride`-th pixel, with `pad` channels of zeros before and after."""
        if self.stride == 1 and self.pad == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))

    def forward(self, x: Tensor) -> Tensor:  # x: (N, C, H, W)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    """The CIFAR ResNet with three blocks a stage, of 16, 32 and 64 channels."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(16, 16, stride=1)
        self.layer2 = self._stage(16, 32, stride=2)
        self.layer3 = self._stage(32, 64, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
        first = CifarBlock(channels_in, channels, stride)
        return nn.Sequential(first, CifarBlock(channels, channels, 1), CifarBlock(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:  # x: (N, 3, 32, 32)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def lenet() -> nn.Sequential:
    """Caffe's LeNet: two convolutions, each with max-pooling, and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip


#: What one image of each network looks like: (C, H, W).
IMAGE_SHAPE = {
    "resnet18": (3, 224, 224),
    "resnet50": (3, 224, 224),
    "vgg16": (3, 224, 224),
    "squeezenet1_1": (3, 224, 224),
    "mobilenet_v2": (3, 224, 224),
    "resnet20": (3, 32, 32),
    "lenet": (1, 28, 28),
}

#: How many classes each network tells apart.
CLASSES = {net: 10 if net in ("resnet20", "lenet") else 1000 for net in IMAGE_SHAPE}


def build(name: str, seed: int = 0) -> nn.Module:
    """The network of that name with its authors' random initialisation."""
    torch.manual_seed(seed)
    if name == "resnet20":
        return ResNet20()
    if name == "lenet":
        return lenet()
    return getattr(torchvision.models, name)(weights=None)
