# SPDX-License-Identifier: Apache-2.0
"""What orthogonium computes from the same weights, for nodes/orthogonium_test.go.

    python3 nodes/testdata/orthogonium.py DIR

writes orthogonium.json beside this file, in float64. DIR holds the sources of orthogonium (commit d54ed6319e11), which run with PyTorch.

Kernels of orthogonal convolutions: the orthogonalisation is left out. Factors are drawn orthonormal, and the modules that make kernels of them are
called. The factors of both libraries are related as follows. orthogonium makes its matrix of two projectors, A = (I - 2 P)(I - 2 Q), and its kernels
of 2 x 2 of one projector for rows followed by one for columns, B_t = [R_t; I-R_t] * [S_t, I-S_t]. It multiplies them in pairs, in parallel, so their
order differs: B_4 * B_2 * B_3 * B_1 for 5 x 5.

- As many filters as channels, and strides: K = X * B * A, where X is a matrix of the size of the strides, if there are any. This is M * B' with M = X A and
  projectors A'P A.
- More filters than channels: K = B * A, with the first columns of A. Ours ends with rows where theirs ends with columns, so images
  are transposed: rows and columns of taps are exchanged.
- Fewer: the transposed matrices of the taps of a kernel for more filters, at the same places. Again rows and columns are exchanged.
- In X orthogonium orders the weights of a filter by channel and then tap; ours by tap and then channel.

Rescaled kernels and bounds: AOLConv2D rescales the input channels if there are at least as many filters, as AOL does, and otherwise the filters, as SLL does
for a constant q. SDPBasedLipschitzResBlock multiplies each row of its sums by exp(-q_i) and by exp(q_i), so its q has no effect; SDPBasedLipschitzDense has
exp(q_j). The bound compute_delattre2024 is Gram iteration of the larger one of K K' and K' K, ours of the smaller one; for square kernels it is the same.
"""

import json
import os
import sys

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
from orthogonium.layers.conv.AOC.fast_block_ortho_conv import BCOPTrivializer, fast_matrix_conv  # noqa: E402
from orthogonium.layers.conv.AOC.rko_conv import RKOParametrizer  # noqa: E402
from orthogonium.layers.conv.AOL.aol import MultiStepAOLReparametrizer  # noqa: E402
from orthogonium.layers.conv.SLL.sll_layer import SDPBasedLipschitzDense, SDPBasedLipschitzResBlock  # noqa: E402
from orthogonium.losses import LossXent  # noqa: E402
from orthogonium.layers.conv.singular_values.delattre24 import compute_delattre2024  # noqa: E402
from orthogonium.reparametrizers import BatchedIdentity, OrthoParams  # noqa: E402

rng = np.random.default_rng(17)
as_drawn = OrthoParams(spectral_normalizer=BatchedIdentity, orthogonalizer=BatchedIdentity)


def orthonormal(n, p):
    q = np.linalg.qr(rng.standard_normal((max(n, p), min(n, p))))[0]
    return q if n >= p else q.T


def order(n):
    """The indices of the kernels of 2 x 2, from the left, as BCOPTrivializer multiplies them."""
    products = [[i] for i in range(n)]
    while len(products) % 2 == 0:
        half = len(products) // 2
        products = [products[half + i] + products[i] for i in range(half)]
    return [i for p in reversed(products) for i in p]


def case(groups, filters, channels, size, stride):
    d, c = filters // groups, channels // groups
    k = size - stride + 1
    wide = max(c, d // stride**2)
    middle = d if stride == 1 else wide  # channels after the BCOP part
    factors = np.stack([[orthonormal(wide, wide // 2) for _ in range(2 * k)] for _ in range(groups)])
    kernel = BCOPTrivializer(channels, middle * groups, k, groups)(torch.tensor(factors))
    x = np.stack([orthonormal(d, wide * stride**2) for _ in range(groups)])
    if stride > 1:
        own = x.reshape(groups, d, stride**2, wide).transpose(0, 1, 3, 2).copy()
        rko = RKOParametrizer((filters, wide, stride, stride), groups, 1.0, ortho_params=as_drawn)(torch.tensor(own))
        kernel = fast_matrix_conv(kernel, rko, groups) if k > 1 else rko
    kernel = kernel.numpy()

    matrices, projectors = [], []
    for g in range(groups):
        p, q = (factors[g, i] @ factors[g, i].T for i in (0, 1))
        a = (np.eye(wide) - 2 * p) @ (np.eye(wide) - 2 * q)
        steps = [factors[g, 2 + i * (k - 1) + t] for t in order(k - 1) for i in (0, 1)] if k > 1 else []
        if stride == 1 and d != c:
            matrices.append(a[:, :min(c, d)].T)
            projectors += steps[::-1]
        elif stride == 1:
            matrices.append(a)
            projectors += [a.T @ u for u in steps]
        elif k > 1:
            matrices.append((x[g].reshape(d, stride**2, wide) @ a).reshape(d, -1))
            projectors += [a.T @ u for u in steps]
        else:
            matrices.append(x[g])
    if stride == 1 and d != c:
        kernel = kernel.transpose(0, 1, 3, 2)
    return {
        "groups": groups, "filters": filters, "channels": channels, "size": [size, size], "stride": [stride, stride],
        "matrix": np.ravel(matrices).tolist(), "projectors": np.ravel(projectors).tolist(), "kernel": kernel.ravel().tolist(),
    }


kernels = [case(*c) for c in [
    (1, 4, 4, 1, 1), (1, 4, 4, 3, 1), (1, 3, 5, 3, 1), (1, 5, 3, 3, 1), (1, 4, 4, 5, 1), (1, 2, 4, 5, 1), (1, 4, 2, 5, 1), (1, 4, 4, 4, 1),
    (2, 8, 8, 3, 1), (2, 4, 8, 3, 1), (2, 8, 4, 5, 1),
    (1, 8, 2, 2, 2), (1, 8, 2, 3, 2), (1, 4, 4, 3, 2), (1, 12, 2, 3, 2), (1, 8, 2, 5, 2), (2, 16, 4, 3, 2), (2, 8, 8, 5, 2),
]]
layers = []


def layer(op, value, *inputs, **params):
    layers.append({"op": op, "params": params, "inputs": [{"shape": x.shape, "data": x.ravel().tolist()} for x in inputs],
                   "value": np.ravel(value).tolist()})


def draw(*shape):
    return np.round(rng.standard_normal(shape) * 256) / 256


def rescaled(v, groups=1):
    return MultiStepAOLReparametrizer(min(v.shape[0], v.shape[1] * groups), groups, niter=1).double()(torch.tensor(v)).detach().numpy()


for shape, groups in [((4, 3, 3, 3), 1), ((5, 2, 1, 3), 1), ((3, 3, 2, 2), 1), ((6, 2, 3, 3), 2)]:
    v = draw(*shape)
    layer("aol" if groups == 1 else "aol groups", rescaled(v, groups), v)
v = draw(2, 5, 3, 3)
layer("sll", rescaled(v), v, np.zeros((1, 2, 1, 1)))
for q in (np.zeros(4), draw(4)):  # the result does not depend on q
    block = SDPBasedLipschitzResBlock(3, 4 / 3).double()
    v, bias, x = draw(4, 3, 3, 3), draw(1, 4, 1, 1), draw(2, 3, 5, 4)
    block.parametrizations.kernel.original.data = torch.tensor(v)
    block.parametrizations.kernel[0].q.data = torch.tensor(q.reshape(4, 1, 1, 1))
    block.bias.data = torch.tensor(bias)
    layer("sll block", block(torch.tensor(x)).detach().numpy(), x, v, bias)
dense = SDPBasedLipschitzDense(3, 3, 4).double()
v, q, bias, x = draw(4, 3), draw(4), draw(1, 4), draw(2, 3)
dense.weight.data, dense.q.data, dense.bias.data = torch.tensor(v), torch.tensor(q), torch.tensor(bias)
layer("sll dense", dense(torch.tensor(x)).detach().numpy(), x[:, :, None, None], v[:, :, None, None], q.reshape(1, 4, 1, 1), bias.reshape(1, 4, 1, 1))
for shape in [(4, 4, 3, 3), (3, 3, 1, 1), (6, 6, 2, 2), (5, 3, 3, 3), (3, 5, 3, 3)]:
    for t in (1, 3):
        v = draw(*shape)
        layer("gram", float(compute_delattre2024(torch.tensor(v), n_iter=t)), v, steps=t)
for margin, temperature in [(1.5, 0.25), (0.5, 3.0)]:
    z, labels = draw(3, 4), rng.integers(0, 4, 3)
    t = np.eye(4)[labels]
    layer("margin loss", float(LossXent(4, margin, temperature)(torch.tensor(z), torch.tensor(labels))), z, t, margin=margin, temperature=temperature)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "orthogonium.json"), "w") as f:
    json.dump({"kernels": kernels, "layers": layers}, f, separators=(",", ":"))
    f.write("\n")
