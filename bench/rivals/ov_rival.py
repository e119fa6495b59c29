#!/usr/bin/env python3
"""OpenVINO's time for one forward pass on the CPU; prints one JSON line.

    python bench/rivals/export_onnx.py --net resnet50 --batch 1 resnet50.onnx
    python bench/rivals/ov_rival.py --model resnet50.onnx --batch 1 --numbers f32

`--numbers int8` quantises the model first, with NNCF and random images: only its speed is of interest.
"""

import numpy as np
import openvino

import timing

CALIBRATION = 8


def quantised(model: openvino.Model, shape: list[int]) -> openvino.Model:
    """The model after NNCF's post-training quantisation."""
    import nncf

    rng = np.random.default_rng(0)
    images = [rng.standard_normal(shape, dtype=np.float32) for _ in range(CALIBRATION)]
    return nncf.quantize(model, nncf.Dataset(images), subset_size=CALIBRATION, fast_bias_correction=True)


def main() -> None:
    """Compiles the model for least latency and times it on random images."""
    parser = timing.parser(__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="an ONNX file with one input and a fixed batch")
    parser.add_argument("--numbers", choices=("f32", "bf16", "int8"), default="f32")
    args = parser.parse_args()
    core = openvino.Core()
    model = core.read_model(args.model)
    shape = list(model.input(0).shape)
    if args.numbers == "int8":
        model = quantised(model, shape)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": args.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if args.numbers == "bf16" else "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    request.set_input_tensor(openvino.Tensor(images))
    timing.report(request.infer, args)


if __name__ == "__main__":
    main()
