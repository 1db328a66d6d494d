# SPDX-License-Identifier: Apache-2.0
"""Runs of Muon for solvers/muon_test.go.

    python3 solvers/testdata/muon.py

writes muon.json beside this file: the weights after 1 and after 100 steps in float64, with NumPy. A weight of
index i has the gradient sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) x_i at step t, in the row-major order of the layer.
"""

import json
import os

import numpy as np

STEPS, RATE, THETA = 100, 0.02, 0.95


def newton_schulz(m):
    """The iteration of K. Jordan et al., on the side that is shorter."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m.T if m.shape[0] > m.shape[1] else m
    x = x / np.linalg.norm(x)
    for _ in range(5):
        g = x @ x.T
        x = a * x + (b * g + c * g @ g) @ x
    return x.T if m.shape[0] > m.shape[1] else x


def exact(m):
    u, s, wt = np.linalg.svd(m, full_matrices=False)
    return u @ np.diag((s > 1e-12 * s[0]).astype(float)) @ wt


def bound(v):
    """The smallest bound of |v|_2 from Frobenius norms and row sums of (v'v)^1, 2, 4, 8."""
    g = v.T @ v if v.shape[0] > v.shape[1] else v @ v.T
    best = np.inf
    for power in (1, 2, 4, 8):
        h = np.linalg.matrix_power(g, power)
        best = min(best, min(np.linalg.norm(h), np.abs(h).sum(1).max()) ** (1 / power))
    return np.sqrt(best)


class Euclidean:
    decay = 0.1

    def tangent(self, x, g):
        return g

    def step(self, x, v):
        rows, columns = x.shape
        return x * (1 - RATE * self.decay) - RATE * np.sqrt(max(1, rows / columns)) * v


class Rows:
    """Every filter on the unit sphere."""

    def tangent(self, x, g):
        return g - (x * g).sum(1, keepdims=True) * x

    def step(self, x, v):
        rows, columns = x.shape
        y = x - RATE * np.sqrt(max(1, rows / columns)) * v / bound(v)
        return y / np.linalg.norm(y, axis=1, keepdims=True)


class Stiefel:
    """Orthonormal rows, or columns if there are more rows; the retraction is the Q of a QR factorisation."""

    def tangent(self, x, g):
        if x.shape[0] < x.shape[1]:
            return self.tangent(x.T, g.T).T
        s = x.T @ g
        return g - x @ (s + s.T) / 2

    def step(self, x, v):
        y = x - RATE * v / bound(v)
        if x.shape[0] < x.shape[1]:
            return self.q(y.T).T
        return self.q(y)

    def q(self, y):
        q, r = np.linalg.qr(y)
        return q * np.sign(np.diag(r))


def run(manifold, shape, start, msign, nesterov=True, rounds=1):
    d, n = shape[0], int(np.prod(shape[1:]))
    if len(shape) == 2:  # the weights of a linear layer are (in, out)
        matrix, layer = (lambda a: a.reshape(shape).T), (lambda m: m.T.reshape(-1))
    else:
        matrix, layer = (lambda a: a.reshape(d, n)), (lambda m: m.reshape(-1))
    x, mu, kept = matrix(start), 0.0, {}
    index = np.arange(start.size)
    for t in range(STEPS):
        flat = layer(x)
        g = matrix(np.sin(0.7 * index + 0.3 * t) + 0.1 * (1 + index % 3) * flat)
        grad = manifold.tangent(x, g)
        mu = THETA * (manifold.tangent(x, mu) if t else 0.0) + grad
        slope = grad + THETA * mu if nesterov else mu
        v = slope
        tried = []
        for _ in range(rounds):
            v = manifold.tangent(x, msign(v))
            tried.append(((slope * v).sum() / bound(v), v))
        x = manifold.step(x, max(tried, key=lambda pair: pair[0])[1])
        if t in (0, STEPS - 1):
            kept[t + 1] = layer(x).tolist()
    return kept


rng = np.random.default_rng(3)
cases = []
for name, manifold, shape, options in [
    ("Euclidean", Euclidean(), (4, 3, 1, 3), {}),
    ("Euclidean", Euclidean(), (7, 1, 2, 2), {}),
    ("Euclidean", Euclidean(), (5, 6), {"nesterov": False}),
    ("Euclidean", Euclidean(), (6, 4), {"exact": True}),
    ("Sphere", Rows(), (4, 3, 1, 3), {}),
    ("Sphere", Rows(), (7, 1, 2, 2), {"exact": True, "rounds": 2}),
    ("Stiefel", Stiefel(), (4, 3, 1, 3), {}),
    ("Stiefel", Stiefel(), (7, 1, 2, 2), {"rounds": 3}),
    ("Stiefel", Stiefel(), (4, 1, 2, 2), {"exact": True}),
    ("Stiefel", Stiefel(), (5, 3), {"exact": True, "nesterov": False}),
]:
    start = 0.5 * rng.standard_normal(int(np.prod(shape)))
    if name != "Euclidean":
        m = start.reshape(shape).T if len(shape) == 2 else start.reshape(shape[0], -1)
        if name == "Sphere":
            m = m / np.linalg.norm(m, axis=1, keepdims=True)
        else:
            u, _, wt = np.linalg.svd(m, full_matrices=False)
            m = u @ wt
        start = (m.T if len(shape) == 2 else m).reshape(-1)
    use = dict(options)
    msign = exact if use.pop("exact", False) else newton_schulz
    kept = run(manifold, shape, start, msign, **use)
    cases.append({"manifold": name, "shape": list(shape), "start": start.tolist(), "first": kept[1], "last": kept[STEPS], **options})

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "muon.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
