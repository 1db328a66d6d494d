# SPDX-License-Identifier: Apache-2.0
"""Runs of RDoG and RDoWG for solvers/rdog_test.go.

    python3 solvers/testdata/rdog.py

writes rdog.json beside this file: the weights after 1 and after 100 steps, and their averages, in float64, with NumPy. A weight of
index i has the gradient sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) x_i at step t, in the row-major order of its layer. A layer is
one matrix with a filter in each row.
"""

import json
import os

import numpy as np

STEPS, EPS = 100, 1e-2


class Euclidean:
    lowest, free = 0.0, 1.0

    def grad(self, x, g):
        return g

    def squares(self, x, v):
        """|v|^2 of each point; the layer is one."""
        return np.array([(v * v).sum()])

    def distances(self, x, y):
        return np.array([np.linalg.norm(x - y)])

    def step(self, x, v):
        return x + v

    def sizes(self, x):
        return np.array([np.linalg.norm(x)])

    def nearest(self, x):
        return x


class Rows(Euclidean):
    """Every filter on the unit sphere."""

    free = 0.0

    def grad(self, x, g):
        return g - (x * g).sum(1, keepdims=True) * x

    def squares(self, x, v):
        return (v * v).sum(1)

    def distances(self, x, y):
        return 2 * np.arcsin(np.minimum(1, np.linalg.norm(x - y, axis=1) / 2))

    def step(self, x, v):
        return (x + v) / np.linalg.norm(x + v, axis=1, keepdims=True)

    def sizes(self, x):
        return np.linalg.norm(x, axis=1)

    def nearest(self, x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)


class Stiefel(Euclidean):
    """Orthonormal filters, x x' = 1, with chords for distances; the retraction is the Q of a QR factorisation."""

    free = 0.0

    def __init__(self, canonical):
        self.canonical = canonical
        self.lowest = 0.0 if canonical else -0.5

    def grad(self, x, g):
        if self.canonical:
            return g - x @ g.T @ x
        s = g @ x.T
        return g - (s + s.T) / 2 @ x

    def squares(self, x, v):
        full = (v * v).sum()
        return np.array([full - ((v @ x.T) ** 2).sum() / 2 if self.canonical else full])

    def step(self, x, v):
        q, r = np.linalg.qr((x + v).T)
        return (q * np.sign(np.diag(r))).T

    def nearest(self, x):
        u, _, wt = np.linalg.svd(x, full_matrices=False)
        return u @ wt


def zeta(lowest, r):
    a = r * np.sqrt(-lowest)
    return np.where(a > 1e-8, a / np.tanh(np.maximum(a, 1e-8)), 1.0)


def run(layers, starts, weighted, scope):
    """A layer is a manifold; the scope is one of point, layer, all."""
    x = [s.copy() for s in starts]

    def together(squares):
        """Sums over what shares a number, with a number for every point of every layer."""
        if scope == "point":
            return squares
        if scope == "layer":
            return [np.full_like(s, s.sum()) for s in squares]
        total = sum(s.sum() for s in squares)
        return [np.full_like(s, total) for s in squares]

    lowest = [m.lowest for m in layers]
    free = [m.free for m in layers]
    if scope == "all":
        lowest, free = [min(lowest)] * len(layers), [max(free)] * len(layers)
    sizes = together([m.sizes(s) ** 2 for m, s in zip(layers, starts)])
    r = [EPS * (f + np.sqrt(s)) for f, s in zip(free, sizes)]
    total = [np.zeros_like(a) for a in r]
    weight, mean = [0.0] * len(layers), [np.zeros_like(s) for s in starts]
    kept = {}
    for t in range(STEPS):
        grads = []
        for m, a in zip(layers, x):
            index = np.arange(a.size).reshape(a.shape)
            grads.append(m.grad(a, np.sin(0.7 * index + 0.3 * t) + 0.1 * (1 + index % 3) * a))
        moved = together([m.distances(a, s) ** 2 for m, a, s in zip(layers, x, starts)])
        norms = together([m.squares(a, g) for m, a, g in zip(layers, x, grads)])
        for i, m in enumerate(layers):
            r[i] = np.maximum(r[i], np.sqrt(moved[i]))
            w = r[i] ** 2 / zeta(lowest[i], r[i])
            total[i] = total[i] + (w * norms[i] if weighted else norms[i])
            rate = (w if weighted else np.sqrt(w)) / np.sqrt(total[i])
            share = w if weighted else np.sqrt(w)
            v = -rate[:, None] * grads[i] if len(rate) > 1 else -rate[0] * grads[i]
            x[i] = m.step(x[i], v)
            mean[i] = mean[i] + share.max() * x[i]
            weight[i] = weight[i] + share.max()
        if t in (0, STEPS - 1):
            kept[t + 1] = [a.reshape(-1).tolist() for a in x]
    kept["average"] = [
        m.nearest(a / w).reshape(-1).tolist() for m, a, w in zip(layers, mean, weight)
    ]
    return kept


rng = np.random.default_rng(5)


def start(name, shape):
    s = rng.normal(size=(shape[0], int(np.prod(shape[1:]))))
    if name == "Sphere":
        s /= np.linalg.norm(s, axis=1, keepdims=True)
    elif name != "Euclidean":
        s = np.linalg.qr(s.T)[0].T
    return s


make = {"Euclidean": Euclidean(), "Sphere": Rows(), "Stiefel": Stiefel(False), "canonical Stiefel": Stiefel(True)}
cases = []
for names, scope in [
    (["Euclidean"], "layer"),
    (["Sphere"], "layer"),
    (["Sphere", "Euclidean"], "point"),
    (["Stiefel", "Sphere"], "layer"),
    (["canonical Stiefel"], "layer"),
    (["Stiefel", "Euclidean", "Sphere"], "all"),
]:
    shapes = [(4, 3, 1, 3), (3, 2, 2, 2), (5, 2, 3, 1)][: len(names)]
    starts = [start(n, s) for n, s in zip(names, shapes)]
    for rule, weighted in [("RDoG", False), ("RDoWG", True)]:
        kept = run([make[n] for n in names], starts, weighted, scope)
        cases.append({
            "rule": rule, "scope": scope, "manifolds": names, "shapes": shapes,
            "starts": [s.reshape(-1).tolist() for s in starts], "first": kept[1], "last": kept[STEPS],
            "average": kept["average"],
        })

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "rdog.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
