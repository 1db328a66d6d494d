# SPDX-License-Identifier: Apache-2.0
"""Averages of weights for solvers/average_test.go.

    python3 solvers/testdata/average.py

writes average.json beside this file: the averages over 100 steps of SGD at the rate 0.05, in float64, with NumPy. A weight of index
i has the gradient sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) x_i at step t, in the row-major order of its layer, which is one matrix with a
filter in each row. EMA has a decay of 0.9; SWA takes the weights after steps 11, 14, 17 and so on.
"""

import json
import os

import numpy as np

STEPS, RATE, DECAY, FIRST, EVERY = 100, 0.05, 0.9, 11, 3


class Euclidean:
    intrinsic = [False]

    def start(self, w):
        return w

    def grad(self, x, g):
        return g

    def step(self, x, v):
        return x + v

    def nearest(self, x):
        return x


class Sphere(Euclidean):
    """Every filter on the unit sphere."""

    intrinsic = [False, True]

    def start(self, w):
        return self.nearest(w)

    def grad(self, x, g):
        return g - (x * g).sum(1, keepdims=True) * x

    def step(self, x, v):
        return self.nearest(x + v)

    def nearest(self, x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def towards(self, a, x, c):
        """The point that is c of the way along the geodesic: sin((1-c)t) a + sin(ct) x over sin t."""
        t = np.arctan2(np.linalg.norm(x - (a * x).sum(1, keepdims=True) * a, axis=1, keepdims=True), (a * x).sum(1, keepdims=True))
        return np.where(t < 1e-12, x, (np.sin((1 - c) * t) * a + np.sin(c * t) * x) / np.where(t < 1e-12, 1, np.sin(t)))


class Stiefel(Euclidean):
    """Orthonormal filters, with the polar retraction."""

    def start(self, w):
        return self.nearest(w)

    def grad(self, x, g):
        s = g @ x.T
        return g - (s + s.T) / 2 @ x

    def step(self, x, v):
        return self.nearest(x + v)

    def nearest(self, x):
        u, _, wt = np.linalg.svd(x, full_matrices=False)
        return u @ wt


class Grassmann(Stiefel):
    """Spans of the filters, with the polar retraction."""

    intrinsic = [True]

    def grad(self, x, g):
        return g - g @ x.T @ x

    def towards(self, a, x, c):
        """Along the geodesic, by principal vectors: those of a and x span the planes in which it turns."""
        u, cos, wt = np.linalg.svd(a @ x.T)
        p, q = u.T @ a, wt @ x
        across = q - cos[:, None] * p
        sin = np.linalg.norm(across, axis=1)
        t = np.arctan2(sin, cos)
        unit = np.where(sin[:, None] < 1e-14, 0, across / np.where(sin < 1e-14, 1, sin)[:, None])
        return np.cos(c * t)[:, None] * p + np.sin(c * t)[:, None] * unit


def run(m, x, kind, intrinsic):
    average, count = np.zeros_like(x), 0
    index = np.arange(x.size).reshape(x.shape)
    for t in range(STEPS):
        g = np.sin(0.7 * index + 0.3 * t) + 0.1 * (1 + index % 3) * x
        x = m.step(x, -RATE * m.grad(x, g))
        if kind == "SWA" and (t + 1 < FIRST or (t + 1 - FIRST) % EVERY):
            continue
        count += 1
        c = (1 - DECAY) / (1 - DECAY**count) if kind == "EMA" else 1 / count
        if intrinsic and count > 1:
            average = m.towards(average, x, c)
        else:
            average = average + c * (x - average)
    return x, average if intrinsic else m.nearest(average)


rng = np.random.default_rng(11)
cases = []
for name, m in [("Euclidean", Euclidean()), ("Sphere", Sphere()), ("Stiefel", Stiefel()), ("Grassmann", Grassmann())]:
    shape = (3, 2, 2, 2)
    start = m.start(rng.normal(size=(shape[0], int(np.prod(shape[1:])))))
    for kind in ["EMA", "SWA"]:
        for intrinsic in m.intrinsic:
            last, average = run(m, start, kind, intrinsic)
            cases.append({
                "kind": kind, "manifold": name, "intrinsic": intrinsic, "shape": shape, "start": start.reshape(-1).tolist(),
                "last": last.reshape(-1).tolist(), "average": average.reshape(-1).tolist(),
            })

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "average.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
