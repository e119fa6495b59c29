"""Random weights and inputs at which a float32 gradient is well defined.

A ReLU network's gradient jumps where a pre-activation crosses zero, and where two values of one max-pool
window change places. A network of ResNet-50's size has millions of pre-activations. With plain random
weights a few of them lie within rounding of zero, two correct programs put them on different sides, and
their gradients then differ by 1e-3 to 1e-1: far more than the rounding that a check is to bound.

So the network is moved, a little, away from every jump:

    for each ReLU, in the order of a float64 forward pass in training mode:
        for each channel:
            look at the pre-activations within half a standard deviation of zero
            shift the channel, through beta of the BatchNorm before it, so that
            zero lies in the middle of the widest gap between two neighbours

    draw images until the two largest values of each max-pool window are well apart

Nothing is then nearer to a ReLU's kink than about 1e-4 standard deviations, and every kind of arithmetic
error still shows. Rounding grows by about a tenth with each layer of a random BatchNorm network (Yang et
al. 2019, "A Mean Field Theory of Batch Normalization"); a gain of about 1/2 at the end of each residual
branch, as trained networks have, keeps that growth small.
"""

import copy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rivals.nets import CLASSES, IMAGE_SHAPE, build

BRANCH_GAIN = 0.5
WINDOW = 0.5  # how far a channel may be shifted, in its standard deviations
POOL_MARGIN = 1e-6  # wanted distance of a pool window's two largest values, in standard deviations
POOL_TRIES = 40


@dataclass
class Problem:
    """One network with its weights, a batch of images and their labels."""

    net: str
    model: nn.Module  # float32
    images: Tensor  # (N, C, H, W) float32
    labels: Tensor  # (N,) int64
    kink_margin: float  # nearest pre-activation to zero, in its channel's standard deviations
    pool_margin: float  # nearest two maxima of a pool window, in standard deviations


def make_problem(net: str, batch: int, seed: int, smooth: bool = True) -> Problem:
    """A random problem, the same for the same arguments.

    It is away from every jump of its gradient, unless `smooth` is false.
    """
    model = build(net, seed).train()
    random = torch.Generator().manual_seed(seed)
    randomise_batch_norms(model, random)
    images, pool_margin = draw_images(model, (batch, *IMAGE_SHAPE[net]), random)
    labels = torch.randint(0, CLASSES[net], (batch,), generator=random)
    kink_margin = move_off_kinks(model, images) if smooth else 0.0
    return Problem(net, model, images, labels, kink_margin, pool_margin)


@torch.no_grad()
def randomise_batch_norms(model: nn.Module, random: torch.Generator) -> None:
    """Gamma, beta and running statistics such that each of the four matters."""
    for norm in batch_norms(model):
        norm.weight.uniform_(0.5, 1.5, generator=random)
        norm.bias.normal_(0, 0.2, generator=random)
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_(0, 0.2, generator=random)
        norm.running_var.uniform_(0.5, 1.5, generator=random)
    for block in model.modules():
        if hasattr(block, "conv2"):  # a residual block
            norms = [child for child in block.children() if isinstance(child, nn.BatchNorm2d)]
            norms[-1].weight.mul_(BRANCH_GAIN)


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """All BatchNorm layers of a model."""
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def draw_images(model: nn.Module, shape: tuple[int, ...], random: torch.Generator) -> tuple[Tensor, float]:
    """Images whose max-pool windows have one clear winner each, and how clear it is."""
    best, best_margin = torch.randn(shape, generator=random), -1.0
    pool = getattr(model, "maxpool", None)
    if not isinstance(pool, nn.MaxPool2d):
        return best, float("inf")
    first = copy.deepcopy(model.get_submodule("conv1")).double()
    for _ in range(POOL_TRIES):
        images = torch.randn(shape, generator=random)
        margin = pool_margin(first(images.double()), pool)
        if margin > best_margin:
            best, best_margin = images, margin
        if best_margin >= POOL_MARGIN:
            break
    return best, best_margin


def pool_margin(x: Tensor, pool: nn.MaxPool2d) -> float:
    """Smallest distance of the two largest values of a window, in standard deviations of `x`.

    `x` may be taken before BatchNorm and ReLU: positive gains keep the order within a channel.
    """
    size, stride, padding = (cast(int, v) for v in (pool.kernel_size, pool.stride, pool.padding))
    padded = F.pad(x, [padding] * 4, value=float("-inf"))
    windows = padded.unfold(2, size, stride).unfold(3, size, stride)
    top = windows.flatten(-2).topk(2).values  # (N, C, H', W', 2)
    gaps = (top[..., 0] - top[..., 1]).amin(dim=(0, 2, 3)) / x.std(dim=(0, 2, 3))
    return gaps.min().item()


@torch.no_grad()
def move_off_kinks(model: nn.Module, images: Tensor) -> float:
    """Shifts the betas of `model` (see the top of this file); returns the margin reached."""
    double = copy.deepcopy(model).double()
    last_norm: list[nn.BatchNorm2d] = []
    margins: list[float] = []

    def after_norm(norm: nn.BatchNorm2d, _inputs: object, _output: object) -> None:
        last_norm[:] = [norm]

    def before_relu(_relu: nn.ReLU, inputs: tuple[Tensor]) -> tuple[Tensor]:
        shifted, margin = shift_channels(last_norm[0], inputs[0])
        margins.append(margin)
        return (shifted,)

    for module in double.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(after_norm)
        elif isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(before_relu)
    double(images.double())
    for norm, moved in zip(batch_norms(model), batch_norms(double), strict=True):
        norm.bias.copy_(moved.bias)
    return min(margins)


def shift_channels(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, float]:
    """Moves zero into the widest gap of each channel of the pre-activation `x`, by way of beta.

    Returns the moved pre-activation and the distance of its nearest value to zero.
    """
    channels = x.transpose(0, 1).flatten(1)  # (C, N*H*W)
    deviation = channels.std(1)
    edge = WINDOW * deviation[:, None]
    inside = torch.cat([-edge, channels.clamp(-edge, edge), edge], 1).sort(1).values
    widest = inside.diff(dim=1).argmax(1, keepdim=True)
    middle = (inside.gather(1, widest) + inside.gather(1, widest + 1))[:, 0] / 2
    before = norm.bias.clone()
    norm.bias.copy_((before - middle).float())  # as float32 will hold it
    shift = norm.bias - before
    margin = (channels + shift[:, None]).abs().amin(1) / deviation
    return x + shift[:, None, None], margin.min().item()
