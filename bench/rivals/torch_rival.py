#!/usr/bin/env python3
"""PyTorch's time for one network on the CPU; prints one JSON line.

    python bench/rivals/torch_rival.py --net resnet50 --batch 1 --mode infer --variant jit

Variants, joined by `+`: `eager`, `cl` (channels_last), `jit` (TorchScript, frozen and optimised for
inference), `compile` (torch.compile), `bf16` (autocast to bfloat16), `fused` (one kernel for the whole SGD
update).
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

import timing
from nets import CLASSES, IMAGE_SHAPE, build

VARIANTS = {"eager", "cl", "jit", "compile", "bf16", "fused"}


def autocast(variants: set[str]) -> torch.autocast:
    """Mixed precision where the variant says so."""
    return torch.autocast("cpu", torch.bfloat16, enabled="bf16" in variants)


def infer_step(model: nn.Module, images: Tensor, variants: set[str]) -> Callable[[], Tensor]:
    """One forward pass."""
    model.eval()
    if "jit" in variants:
        with torch.inference_mode():
            frozen = torch.jit.freeze(torch.jit.trace(model, images))
            model = torch.jit.optimize_for_inference(frozen)
    elif "compile" in variants:
        model = torch.compile(model)

    def step() -> Tensor:
        with torch.no_grad(), autocast(variants):
            return model(images)

    return step


def train_step(model: nn.Module, images: Tensor, labels: Tensor, variants: set[str]) -> Callable[[], float]:
    """Forward, loss, backward and an SGD update with momentum and weight decay."""
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.01,
        momentum=0.9,
        weight_decay=1e-4,
        fused=True if "fused" in variants else None,
    )
    loss_of = nn.CrossEntropyLoss()
    forward = torch.compile(model) if "compile" in variants else model

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with autocast(variants):
            loss = loss_of(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def variant_set(text: str) -> set[str]:
    """The variants named in `text`."""
    variants = set(text.split("+"))
    if unknown := variants - VARIANTS:
        raise argparse.ArgumentTypeError(f"unknown variant {', '.join(sorted(unknown))}")
    return variants


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = timing.parser(__doc__.split("\n")[0])
    parser.add_argument("--net", choices=IMAGE_SHAPE, required=True)
    parser.add_argument("--mode", choices=("infer", "train"), required=True)
    parser.add_argument("--variant", type=variant_set, default="eager")
    parser.add_argument("--weights", help="a state_dict to load [default: random weights]")
    return parser.parse_args()


def main() -> None:
    """Builds the network and its batch, and times it."""
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.weights:
        with torch.device("meta"):  # nothing is drawn that the file replaces
            model = build(args.net)
        model.load_state_dict(torch.load(args.weights, mmap=True), assign=True)
    else:
        model = build(args.net)
    images = torch.randn(args.batch, *IMAGE_SHAPE[args.net])
    labels = torch.randint(0, CLASSES[args.net], (args.batch,))
    if "cl" in args.variant:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    step: Callable[[], object]
    if args.mode == "infer":
        step = infer_step(model, images, args.variant)
    else:
        step = train_step(model, images, labels, args.variant)
    timing.report(step, args)


if __name__ == "__main__":
    main()
