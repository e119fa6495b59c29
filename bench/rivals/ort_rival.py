#!/usr/bin/env python3
"""ONNX Runtime's time for one forward pass on the CPU; prints one JSON line.

python bench/rivals/export_onnx.py --net resnet50 --batch 1 resnet50.onnx
python bench/rivals/ort_rival.py --model resnet50.onnx --batch 1
"""

import numpy as np
import onnxruntime

import timing


def main() -> None:
    """Opens the model and times it on random images."""
    parser = timing.parser(__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="an ONNX file with one input and a fixed batch")
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    if entry.shape[0] != args.batch:
        parser.error(f"the model's batch is {entry.shape[0]}, not {args.batch}")
    images = np.random.default_rng(0).standard_normal(entry.shape, dtype=np.float32)
    timing.report(lambda: session.run(None, {entry.name: images}), args)


if __name__ == "__main__":
    main()
