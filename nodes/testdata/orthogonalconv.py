# SPDX-License-Identifier: Apache-2.0
"""Kernels of orthogonal convolutions for nodes/orthogonalconv_test.go.

    python3 nodes/testdata/orthogonalconv.py

writes orthogonalconv.json beside this file, in float64, with NumPy. Block
convolutions are sums over all pairs of taps, with projectors written out. Each kernel is checked here: its transfer function at 40 random frequencies is orthogonal.
"""

import json
import os

import numpy as np

rng = np.random.default_rng(7)


def orthonormal(n, p):
    """A random n x p matrix with orthonormal columns, or rows, rounded to float32."""
    q, r = np.linalg.qr(rng.standard_normal((max(n, p), min(n, p))))
    q = q * np.sign(np.diag(r))
    q = q.astype(np.float32).astype(float)
    return q if n >= p else q.T


def block(a, b):
    """The block convolution of kernels of shape (out, in, height, width)."""
    h, w = a.shape[2] + b.shape[2] - 1, a.shape[3] + b.shape[3] - 1
    k = np.zeros((a.shape[0], b.shape[1], h, w))
    for i in range(a.shape[2]):
        for j in range(a.shape[3]):
            for u in range(b.shape[2]):
                for v in range(b.shape[3]):
                    k[:, :, i + u, j + v] += a[:, :, i, j] @ b[:, :, u, v]
    return k


def kernel(m, u, filters, channels, size, stride):
    phases = stride[0] * stride[1]
    c = m.shape[1] // phases
    k = m.reshape(m.shape[0], *stride, c).transpose(0, 3, 1, 2)
    swapped = phases == 1 and filters > channels
    if swapped:
        k = k.transpose(1, 0, 2, 3)
    rows, cols = size[0] - stride[0], size[1] - stride[1]
    rest = list(u)
    while rest:
        for vertical in (True, False):
            if (rows if vertical else cols) == 0:
                continue
            basis = rest.pop(0)
            p = basis @ basis.T
            taps = np.stack([p, np.eye(c) - p], axis=-1)
            taps = taps[:, :, :, None] if vertical else taps[:, :, None, :]
            k = block(taps, k) if swapped else block(k, taps)
            if vertical:
                rows -= 1
            else:
                cols -= 1
    return k[:, :channels]


def defect(k, stride):
    """How far the transfer function is from orthogonal. With strides it maps the phases of the image."""
    worst = 0
    for w in rng.uniform(0, 2 * np.pi, (40, 2)):
        t = np.zeros((k.shape[0], k.shape[1] * stride[0] * stride[1]), complex)
        for a in range(k.shape[2]):
            for b in range(k.shape[3]):
                phase = (a % stride[0]) * stride[1] + b % stride[1]
                turn = np.exp(1j * (w[0] * (a // stride[0]) + w[1] * (b // stride[1])))
                t[:, phase * k.shape[1]:][:, :k.shape[1]] += turn * k[:, :, a, b]
        gram = t @ t.conj().T if t.shape[0] <= t.shape[1] else t.conj().T @ t
        worst = max(worst, np.abs(gram - np.eye(len(gram))).max())
    return worst


cases = []
for groups, filters, channels, size, stride in [
    (1, 4, 4, (3, 3), (1, 1)),
    (1, 3, 5, (3, 3), (1, 1)),
    (1, 5, 3, (3, 3), (1, 1)),
    (1, 4, 4, (5, 5), (1, 1)),
    (1, 3, 4, (1, 1), (1, 1)),
    (1, 4, 3, (2, 4), (1, 1)),
    (1, 8, 2, (3, 3), (2, 2)),
    (1, 12, 2, (3, 3), (2, 2)),
    (1, 6, 2, (3, 3), (2, 2)),
    (1, 5, 3, (4, 3), (2, 1)),
    (1, 4, 1, (2, 2), (2, 2)),
    (2, 6, 4, (3, 3), (1, 1)),
    (2, 8, 4, (5, 3), (2, 2)),
]:
    d, c = filters // groups, channels // groups
    n = size[0] - stride[0] + size[1] - stride[1]
    phases = stride[0] * stride[1]
    wide = max(c, d // phases) if n or phases == 1 else c
    m = [orthonormal(min(c, d) if phases == 1 else d, wide * phases) for _ in range(groups)]
    u = [[orthonormal(wide, wide // 2) for _ in range(n)] for _ in range(groups)]
    k = [kernel(m[g], u[g], d, c, size, stride) for g in range(groups)]
    assert max(defect(x, stride) for x in k) < 1e-6
    cases.append({
        "groups": groups, "filters": filters, "channels": channels, "size": size, "stride": stride,
        "matrix": np.array(m).ravel().tolist(), "projectors": np.array(u).ravel().tolist(),
        "kernel": np.concatenate(k).ravel().tolist(),
    })

with open(os.path.join(os.path.dirname(__file__), "orthogonalconv.json"), "w") as f:
    json.dump(cases, f, separators=(",", ":"))
    f.write("\n")
