# SPDX-License-Identifier: Apache-2.0
"""Checks files of ONNX by the package onnx (Debian: python3-onnx): see `make onnx`.

    check.py FOLDER

Each FOLDER/*.onnx must pass the checker and the inference of shapes, and where the version of the package has a reference
evaluator, its outputs must be those of the JSON file beside it to 1e-4 of the largest.
"""

import glob
import json
import os
import sys

import numpy as np
import onnx

try:
    from onnx.reference import ReferenceEvaluator
except ImportError:  # before 1.13
    ReferenceEvaluator = None

paths = sorted(glob.glob(os.path.join(sys.argv[1], "*.onnx")))
assert paths, "no files"
for path in paths:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    report = f"{os.path.basename(path)}: {len(model.graph.node)} nodes, {len(inferred.graph.value_info)} shapes inferred"
    if ReferenceEvaluator:
        with open(path[: -len("onnx")] + "json") as f:
            run = json.load(f)
        feeds = {n: np.array(x, np.float32).reshape(s) for n, x, s in zip(run["Names"], run["Inputs"], run["Shapes"])}
        for want, got in zip(run["Outputs"], ReferenceEvaluator(model).run(None, feeds)):
            most = np.abs(np.array(want) - got.flatten()).max()
            assert most < 1e-4 * max(1, np.abs(want).max()), (path, most)
            report += f", outputs differ by {most:.1e}"
    print(report)
print("onnx", onnx.__version__)
