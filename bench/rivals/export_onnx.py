#!/usr/bin/env python3
"""Writes a network with random weights as an ONNX file, its state_dict (.pt), and x.npy, an image for it.

python bench/rivals/export_onnx.py --net resnet50 --batch 1 resnet50.onnx
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch

from nets import IMAGE_SHAPE, build


def main() -> None:
    """Exports the network asked for, in evaluation mode, with the BatchNorm statistics of a random batch."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    model = build(args.net).train()
    with torch.no_grad():
        model(torch.randn(4, *IMAGE_SHAPE[args.net]))
    images = torch.randn(args.batch, *IMAGE_SHAPE[args.net])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the TorchScript exporter announces its retirement
        torch.onnx.export(
            model.eval(), (images,), args.file, opset_version=17, dynamo=False,
            input_names=["input"], output_names=["output"],
        )  # fmt: skip
    torch.save(model.state_dict(), args.file.with_suffix(".pt"))
    np.save(args.file.with_name("x.npy"), images[:1].numpy())


if __name__ == "__main__":
    main()
