# SPDX-License-Identifier: Apache-2.0
"""Runs of SAM for solvers/sam_test.go.

    python3 solvers/testdata/sam.py

writes sam.json beside this file: a kernel on a manifold and a vector without a constraint after 100 steps of SAM around SGD
with tangent momentum, in float64, with NumPy. The cost has the gradient
sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) z_i + 0.5 z_i^3 at step t, where z are the elements of the kernel in row-major order and then those of
the vector.
"""

import json
import os

import numpy as np

STEPS, RATE, THETA, RHO = 100, 0.02, 0.9, 0.1


class Euclidean:
    def tangent(self, x, g):
        return g

    def gradient(self, x, g):
        return self.tangent(x, g)

    def inner(self, x, u, v):
        return (u * v).sum()

    def retract(self, x, v):
        return x + v


class Sphere(Euclidean):
    """Every row on the unit sphere."""

    def tangent(self, x, g):
        return g - (x * g).sum(1, keepdims=True) * x

    def retract(self, x, v):
        y = x + v
        return y / np.linalg.norm(y, axis=1, keepdims=True)


class Stiefel(Euclidean):
    """Orthonormal columns; retraction by the Q of a QR factorisation with a positive diagonal."""

    def tangent(self, x, g):
        s = x.T @ g
        return g - x @ (s + s.T) / 2

    def retract(self, x, v):
        q, r = np.linalg.qr(x + v)
        return q * np.sign(np.diag(r))


class Canonical(Stiefel):
    def gradient(self, x, g):
        return g - x @ g.T @ x

    def inner(self, x, u, v):
        return (u * v).sum() - ((x.T @ u) * (x.T @ v)).sum() / 2


def gradient(z, t):
    i = np.arange(z.size)
    return np.sin(0.7 * i + 0.3 * t) + 0.1 * (1 + i % 3) * z + 0.5 * z**3


def run(manifold, shape, kernel, vector):
    rows, columns = shape[0], int(np.prod(shape[1:]))
    wide = isinstance(manifold, Stiefel) and rows < columns
    flat = (lambda x: x.T.reshape(-1)) if wide else (lambda x: x.reshape(-1))
    matrix = (lambda z: z.reshape(rows, columns).T) if wide else (lambda z: z.reshape(rows, columns))
    parts = [manifold, Euclidean()]
    x = [matrix(kernel), vector]
    mu = [0 * p for p in x]

    def at(points, t):
        g = gradient(np.concatenate([flat(points[0]), points[1]]), t)
        return [matrix(g[: kernel.size]), g[kernel.size :]]

    for t in range(STEPS):
        grad = [m.gradient(p, g) for m, p, g in zip(parts, x, at(x, t))]
        norm = np.sqrt(sum(m.inner(p, g, g) for m, p, g in zip(parts, x, grad)))
        above = [m.retract(p, RHO / norm * g) for m, p, g in zip(parts, x, grad)]
        back = [m.tangent(p, m.tangent(q, g)) for m, p, q, g in zip(parts, x, above, at(above, t))]
        mu = [THETA * m.tangent(p, u) + m.gradient(p, g) for m, p, u, g in zip(parts, x, mu, back)]
        x = [m.retract(p, -RATE * u) for m, p, u in zip(parts, x, mu)]
    return flat(x[0]), x[1]


rng = np.random.default_rng(5)
cases = []
for name, manifold, shape in [
    ("Euclidean", Euclidean(), (4, 3, 1, 3)),
    ("Sphere", Sphere(), (4, 3, 1, 3)),
    ("Stiefel", Stiefel(), (4, 3, 1, 3)),
    ("Stiefel", Stiefel(), (7, 1, 2, 2)),
    ("canonical Stiefel", Canonical(), (4, 3, 1, 3)),
    ("canonical Stiefel", Canonical(), (7, 1, 2, 2)),
]:
    start = rng.standard_normal((shape[0], int(np.prod(shape[1:]))))
    if name == "Sphere":
        start /= np.linalg.norm(start, axis=1, keepdims=True)
    elif name != "Euclidean":
        u, _, wt = np.linalg.svd(start, full_matrices=False)
        start = u @ wt
    vector = rng.standard_normal(3)
    kernel, end = run(manifold, shape, start.reshape(-1), vector)
    cases.append({
        "manifold": name, "shape": list(shape), "kernel": start.reshape(-1).tolist(), "vector": vector.tolist(),
        "lastKernel": kernel.tolist(), "lastVector": end.tolist(),
    })

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sam.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
