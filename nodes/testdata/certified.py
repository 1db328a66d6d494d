# SPDX-License-Identifier: Apache-2.0
"""Values of 1-Lipschitz layers for nodes/certified_test.go.

    python3 nodes/testdata/certified.py

writes certified.json beside this file, in float64, with NumPy. Kernels of convolutions are sums over all pairs of taps. The
operator norm of each rescaled kernel is checked here: its transfer function has singular values of at most 1 at 400 frequencies.
Inputs are multiples of 1/256, which float32 holds exactly.
"""

import json
import os

import numpy as np

rng = np.random.default_rng(11)
cases = []


def draw(*shape):
    return np.round(rng.standard_normal(shape) * 256) / 256


def correlation(v):
    """a[i, j, s] = sum over c and t of v[i, c, t + s] v[j, c, t], for all shifts s."""
    n, _, h, w = v.shape
    a = np.zeros((n, n, 2 * h - 1, 2 * w - 1))
    for u in range(h):
        for x in range(w):
            for p in range(h):
                for q in range(w):
                    a[:, :, u - p + h - 1, x - q + w - 1] += v[:, :, u, x] @ v[:, :, p, q].T
    return a


def aol(v):
    sums = np.abs(correlation(v.transpose(1, 0, 2, 3))).sum(axis=(1, 2, 3))
    return v / np.sqrt(sums)[None, :, None, None]


def sll(v, q):
    sums = (np.abs(correlation(v)).sum(axis=(2, 3)) * np.exp(q[None, :] - q[:, None])).sum(axis=1)
    return v / np.sqrt(sums)[:, None, None, None]


def norm(w):
    worst = 0.0
    for a in np.linspace(0, 2 * np.pi, 20, endpoint=False):
        for b in np.linspace(0, 2 * np.pi, 20, endpoint=False):
            wave = np.exp(1j * (a * np.arange(w.shape[2])[:, None] + b * np.arange(w.shape[3])[None, :]))
            worst = max(worst, np.linalg.norm((w * wave).sum(axis=(2, 3)), 2))
    return worst


def convolve(x, w, circular):
    """The convolution that keeps the size of images."""
    h, k = w.shape[2] // 2, w.shape[3] // 2
    p = np.pad(x, ((0, 0), (0, 0), (h, h), (k, k)), mode="wrap" if circular else "constant")
    y = np.zeros((x.shape[0], w.shape[0], x.shape[2], x.shape[3]))
    for u in range(w.shape[2]):
        for v in range(w.shape[3]):
            y += np.einsum("oc,bcij->boij", w[:, :, u, v], p[:, :, u:u + x.shape[2], v:v + x.shape[3]])
    return y


def potential(x, w, bias, circular):
    y = np.maximum(convolve(x, w, circular) + bias, 0)
    adjoint = w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    return x - 2 * convolve(y, adjoint, circular)


def margin_loss(z, t, margin, temperature):
    s = (z - margin * t) / temperature
    s = s - s.max(axis=1, keepdims=True)
    return -temperature * (t * (s - np.log(np.exp(s).sum(axis=1, keepdims=True)))).sum() / len(z)


def norm_pool(x, k):
    b, c, h, w = x.shape
    return np.sqrt((x[:, :, :h // k * k, :w // k * k].reshape(b, c, h // k, k, w // k, k) ** 2).sum(axis=(3, 5)))


def case(op, value, *inputs, **params):
    cases.append({"op": op, "params": params, "inputs": [{"shape": x.shape, "data": x.reshape(-1).tolist()} for x in inputs],
                  "value": np.asarray(value).reshape(-1).tolist()})


for shape in [(4, 3, 3, 3), (2, 5, 1, 3), (3, 3, 2, 2), (6, 2, 1, 1)]:
    v = draw(*shape)
    assert norm(aol(v)) <= 1 + 1e-12
    case("aol", aol(v), v)
    q = draw(1, shape[0], 1, 1)
    assert norm(sll(v, q.reshape(-1))) <= 1 + 1e-12
    case("sll", sll(v, q.reshape(-1)), v, q)
v = draw(6, 2, 3, 3)
case("aol groups", np.concatenate([aol(v[:3]), aol(v[3:])]), v)
v, q = draw(5, 3), draw(1, 3)  # (in, out): the transpose of a kernel of 1 x 1
case("aol", aol(v.T[:, :, None, None])[:, :, 0, 0].T, v)
case("sll", sll(v.T[:, :, None, None], q.reshape(-1))[:, :, 0, 0].T, v, q)
for circular in (False, True):
    x, v, bias = draw(2, 3, 5, 4), draw(4, 3, 3, 3) / 4, draw(1, 4, 1, 1)
    case("potential", potential(x, v, bias, circular), x, v, bias, circular=circular)
for margin, temperature in [(0.0, 1.0), (1.5, 0.25), (0.5, 3.0)]:
    z = draw(3, 4)
    t = np.eye(4)[rng.integers(0, 4, 3)]
    case("margin loss", margin_loss(z, t, margin, temperature), z, t, margin=margin, temperature=temperature)
x = draw(2, 2, 5, 6)
case("norm pool", norm_pool(x, 2), x)

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "certified.json")
with open(path, "w") as f:
    json.dump({"numpy": np.__version__, "cases": cases}, f, separators=(",", ":"))
    f.write("\n")
