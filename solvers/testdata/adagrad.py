# SPDX-License-Identifier: Apache-2.0
"""Runs of Adagrad and RMSProp for solvers/adagrad_test.go.

    python3 solvers/testdata/adagrad.py

writes adagrad.json beside this file: the weights after 1 and after 100 steps in float64, with NumPy. A weight of
index i has the gradient sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) x_i at step t, in the row-major order of the layer.
The layer is one matrix with a filter in each row.
"""

import json
import os

import numpy as np

STEPS, RATE, RHO, THETA, EPS, DECAY = 100, 0.05, 0.9, 0.8, 1e-8, 0.1


class Euclidean:
    """A point for each weight, with decoupled decay."""

    def grad(self, x, g):
        return g

    def square(self, x, v):
        return v * v

    def step(self, x, v):
        return x - RATE * v - RATE * DECAY * x

    def transport(self, y, v):
        return v


class Rows:
    """Every filter on the unit sphere."""

    def grad(self, x, g):
        return g - (x * g).sum(1, keepdims=True) * x

    transport = grad

    def square(self, x, v):
        return (v * v).sum(1, keepdims=True)

    def step(self, x, v):
        y = x - RATE * v
        return y / np.linalg.norm(y, axis=1, keepdims=True)


class Stiefel:
    """Orthonormal filters, x x' = 1. The retraction is the Q of a QR factorisation of the transpose."""

    def __init__(self, canonical):
        self.canonical = canonical

    def transport(self, x, v):
        s = v @ x.T
        return v - (s + s.T) / 2 @ x

    def grad(self, x, g):
        return g - x @ g.T @ x if self.canonical else self.transport(x, g)

    def square(self, x, v):
        """tr(v (1 - x'x/2) v') in the canonical metric."""
        full = (v * v).sum()
        return full - ((v @ x.T) ** 2).sum() / 2 if self.canonical else full

    def step(self, x, v):
        q, r = np.linalg.qr((x - RATE * v).T)
        return (q * np.sign(np.diag(r))).T


def run(manifold, start, keep, take, theta):
    x, s, mu = start, 0.0, np.zeros_like(start)
    index = np.arange(start.size).reshape(start.shape)
    kept = {}
    for t in range(STEPS):
        grad = manifold.grad(x, np.sin(0.7 * index + 0.3 * t) + 0.1 * (1 + index % 3) * x)
        s = keep * s + take * manifold.square(x, grad)
        mu = theta * mu + grad / (np.sqrt(s) + EPS)
        x = manifold.step(x, mu)
        mu = manifold.transport(x, mu)
        if t in (0, STEPS - 1):
            kept[t + 1] = x.reshape(-1).tolist()
    return kept


rng = np.random.default_rng(4)
cases = []
for name, manifold, shape in [
    ("Euclidean", Euclidean(), (4, 3, 1, 3)),
    ("Sphere", Rows(), (5, 2, 3, 1)),
    ("Stiefel", Stiefel(False), (4, 3, 1, 3)),
    ("canonical Stiefel", Stiefel(True), (3, 2, 2, 2)),
]:
    start = rng.normal(size=(shape[0], int(np.prod(shape[1:]))))
    if name == "Sphere":
        start /= np.linalg.norm(start, axis=1, keepdims=True)
    elif name != "Euclidean":
        start = np.linalg.qr(start.T)[0].T
    for rule, keep, take, theta in [
        ("Adagrad", 1, 1, 0),
        ("RMSProp", RHO, 1 - RHO, 0),
        ("RMSProp with momentum", RHO, 1 - RHO, THETA),
    ]:
        kept = run(manifold, start, keep, take, theta)
        cases.append({
            "rule": rule, "manifold": name, "shape": shape, "start": start.reshape(-1).tolist(),
            "first": kept[1], "last": kept[STEPS],
        })

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "adagrad.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
