# SPDX-License-Identifier: Apache-2.0
"""Values and gradients of PyTorch's convolutions for nodes/conv_graph_test.go.

    OMP_NUM_THREADS=1 python3 nodes/testdata/conv.py

writes conv.json beside this file. All is computed in float64. Inputs and
cotangents are multiples of 1/256, which float32 holds exactly.
"""

import json
import os

import torch
import torch.nn.functional as F

SEED = 5
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)
cases = []


def draw(*shape):
    return (torch.randn(*shape) * 256).round() / 256


def numbers(x):
    return x.detach().reshape(-1).tolist()


for name, x, w, stride, pad, dilation, groups in [
    ("3x3", (2, 3, 5, 4), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ("1x1", (3, 3, 3, 5), (2, 3, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    ("1x1 strided", (2, 3, 5, 4), (2, 3, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    ("strided", (2, 2, 6, 5), (2, 2, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ("large strides", (1, 2, 9, 8), (2, 2, 2, 3), (3, 4), (2, 1), (1, 1), 1),
    ("not square", (1, 1, 6, 7), (2, 1, 3, 5), (1, 2), (1, 2), (1, 1), 1),
    ("7x7", (1, 3, 9, 8), (2, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    ("dilated", (1, 2, 7, 6), (2, 2, 3, 3), (1, 1), (2, 2), (2, 2), 1),
    ("dilated, strided", (2, 2, 9, 8), (2, 2, 3, 2), (2, 3), (2, 1), (2, 3), 1),
    ("groups", (2, 4, 5, 4), (6, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ("groups, strided, dilated", (2, 6, 7, 6), (3, 2, 3, 2), (2, 1), (1, 2), (1, 2), 3),
    ("depthwise", (2, 4, 5, 6), (4, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    ("depthwise, multiplied", (1, 3, 6, 5), (6, 1, 3, 3), (2, 2), (1, 1), (1, 1), 3),
]:
    x, w = draw(*x).requires_grad_(), draw(*w).requires_grad_()
    y = F.conv2d(x, w, None, stride, pad, dilation, groups)
    cotangent = draw(*y.shape)
    y.backward(cotangent)
    cases.append({
        "op": "conv2d", "name": name,
        "params": {"kernel": list(w.shape[2:]), "stride": stride, "pad": pad, "dilation": dilation, "groups": groups},
        "inputs": [{"shape": list(v.shape), "data": numbers(v)} for v in (x, w)],
        "value": numbers(y), "cotangent": numbers(cotangent), "gradients": [numbers(x.grad), numbers(w.grad)],
    })

torch.manual_seed(SEED + 1)
for name, x, w, stride, pad, dilation, groups, output_padding in [
    ("3x3", (2, 3, 5, 4), (3, 4, 3, 3), (1, 1), (1, 1), (1, 1), 1, (0, 0)),
    ("1x1", (2, 3, 3, 5), (3, 2, 1, 1), (1, 1), (0, 0), (1, 1), 1, (0, 0)),
    ("1x1 strided", (2, 3, 3, 2), (3, 2, 1, 1), (2, 3), (0, 0), (1, 1), 1, (1, 2)),
    ("doubled", (2, 3, 4, 3), (3, 2, 4, 4), (2, 2), (1, 1), (1, 1), 1, (0, 0)),
    ("doubled, 3x3", (2, 3, 4, 3), (3, 2, 3, 3), (2, 2), (1, 1), (1, 1), 1, (1, 1)),
    ("large strides", (1, 2, 3, 2), (2, 3, 2, 3), (3, 4), (1, 0), (1, 1), 1, (2, 3)),
    ("not square", (1, 2, 6, 4), (2, 1, 3, 5), (1, 2), (1, 2), (1, 1), 1, (0, 1)),
    ("dilated", (1, 2, 5, 4), (2, 3, 3, 3), (1, 1), (2, 2), (2, 2), 1, (0, 0)),
    ("dilated, output padding beyond the stride", (1, 2, 5, 4), (2, 3, 3, 2), (1, 2), (2, 1), (3, 4), 1, (2, 3)),
    ("groups", (2, 4, 5, 4), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 2, (0, 0)),
    ("groups, strided, dilated", (2, 6, 4, 3), (6, 2, 3, 2), (2, 1), (1, 2), (1, 2), 3, (1, 1)),
    ("depthwise", (2, 4, 3, 5), (4, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4, (1, 0)),
    ("depthwise, multiplied", (1, 3, 3, 4), (3, 2, 3, 3), (2, 1), (1, 1), (1, 1), 3, (1, 0)),
    ("padding of all but a pixel", (2, 2, 1, 1), (2, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1, (0, 0)),
]:
    x, w = draw(*x).requires_grad_(), draw(*w).requires_grad_()
    y = F.conv_transpose2d(x, w, None, stride, pad, output_padding, groups, dilation)
    cotangent = draw(*y.shape)
    y.backward(cotangent)
    cases.append({
        "op": "conv_transpose2d", "name": name,
        "params": {"kernel": list(w.shape[2:]), "stride": stride, "pad": pad, "dilation": dilation, "groups": groups, "outputPadding": output_padding},
        "inputs": [{"shape": list(v.shape), "data": numbers(v)} for v in (x, w)],
        "value": numbers(y), "cotangent": numbers(cotangent), "gradients": [numbers(x.grad), numbers(w.grad)],
    })

# Circular padding. The transposed convolution is the adjoint of the convolution: the gradient, with respect
# to images z, of the inner product of its result with x.
torch.manual_seed(SEED + 2)


def around(z, w, stride, pad, dilation, groups):
    top, bottom, left, right = pad
    return F.conv2d(F.pad(z, (left, right, top, bottom), mode="circular"), w, None, stride, 0, dilation, groups)


for op, name, z, w, stride, pad, dilation, groups in [
    (op, name, *rest)
    for name, *rest in [
        ("circular", (2, 3, 5, 4), (4, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
        ("circular, one side", (1, 2, 6, 5), (3, 2, 3, 2), (1, 1), (2, 0, 0, 1), (1, 1), 1),
        ("circular, little", (1, 2, 6, 5), (3, 2, 3, 5), (1, 1), (1, 0, 1, 2), (1, 1), 1),
        ("circular, much", (1, 2, 4, 3), (3, 2, 3, 3), (1, 1), (3, 2, 3, 3), (1, 1), 1),
        ("circular, strided", (2, 2, 6, 8), (3, 2, 3, 4), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        ("circular, strides that do not divide", (2, 2, 7, 5), (3, 2, 3, 3), (2, 3), (1, 1, 2, 1), (1, 1), 1),
        ("circular, dilated", (1, 2, 7, 6), (2, 2, 3, 3), (1, 1), (2, 2, 3, 3), (2, 3), 1),
        ("circular, groups", (2, 4, 5, 4), (6, 2, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2),
        ("circular, depthwise", (2, 4, 4, 6), (4, 1, 3, 3), (2, 1), (1, 1, 1, 1), (1, 1), 4),
        ("circular, rows", (1, 2, 5, 6), (3, 2, 3, 1), (1, 1), (1, 1, 0, 0), (1, 1), 1),
    ]
    for op in ("conv2d", "conv_transpose2d")
]:
    z, w = draw(*z).requires_grad_(), draw(*w).requires_grad_()
    y, inputs = around(z, w, stride, pad, dilation, groups), (z, w)
    rest = [(n + a + b - d * (k - 1) - 1) % s for n, a, b, d, k, s in zip(z.shape[2:], pad[::2], pad[1::2], dilation, w.shape[2:], stride)]
    if op == "conv_transpose2d":
        x = draw(*y.shape).requires_grad_()
        (y,), inputs = torch.autograd.grad(y, z, x, create_graph=True), (x, w)
    cotangent = draw(*y.shape)
    gradients = torch.autograd.grad(y, inputs, cotangent)
    cases.append({
        "op": op, "name": name,
        "params": {"kernel": list(w.shape[2:]), "stride": stride, "pad": pad, "dilation": dilation, "groups": groups, "circular": True,
                   **({"outputPadding": rest} if op == "conv_transpose2d" else {})},
        "inputs": [{"shape": list(v.shape), "data": numbers(v)} for v in inputs],
        "value": numbers(y), "cotangent": numbers(cotangent), "gradients": [numbers(g) for g in gradients],
    })

provenance = {"command": "OMP_NUM_THREADS=1 python3 nodes/testdata/conv.py", "torch": torch.__version__, "seed": SEED}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "conv.json"), "w") as f:
    f.write('{"provenance": %s, "cases": [\n' % json.dumps(provenance))
    f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
    f.write("\n]}\n")
