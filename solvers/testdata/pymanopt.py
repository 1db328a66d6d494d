# SPDX-License-Identifier: Apache-2.0
"""Runs of the solvers of pymanopt for solvers/pymanopt_test.go and docs/names.md.

    python3 solvers/testdata/pymanopt.py DIR

writes pymanopt.json beside this file: how many evaluations of the cost and of the gradient its solvers need before the norm of the gradient is 1e-6, from
the same start. DIR holds the sources of pymanopt (commit a1f52e740925). The matrices are A = diag(1, ..., n) + sin(i j)/2 + sin(j i)/2 and
B_ij = cos(i + 2 j) + 2 δ_ij, for indices from 1; costs are -tr(x'Ax)/2 on spheres and Grassmann, -tr(x'AxN)/2 with N = diag(p, ..., 1) on Stiefel, and
-tr(x'B) on rotations.
"""

import json
import os
import sys
import types

import numpy as np
import scipy.linalg as la

sys.path.insert(0, os.path.join(sys.argv[1], "src"))
sys.modules["pymanopt._version"] = types.SimpleNamespace(__version__="")  # written by an installation
import pymanopt  # noqa: E402
import pymanopt.tools.multi  # noqa: E402
from pymanopt.optimizers import ConjugateGradient, SteepestDescent  # noqa: E402

pymanopt.tools.multi.scipy_expm = la.expm  # it takes SciPy 1.10 for older than 1.9
runs = []


def matrix(n):
    i = np.arange(1, n + 1)
    return np.diag(i).astype(float) + np.sin(np.outer(i, i))


def start(n, p):
    i, j = np.arange(1, n + 1)[:, None], np.arange(1, p + 1)[None, :]
    q, r = np.linalg.qr(np.cos(i * i + 3 * j) + (i == j))
    return q * np.sign(np.diag(r))


for name, manifold, n, p, cost, gradient in [
    ("Sphere", pymanopt.manifolds.Sphere(20, 1), 20, 1, None, None),
    ("Grassmann", pymanopt.manifolds.Grassmann(20, 3), 20, 3, None, None),
    ("Stiefel", pymanopt.manifolds.Stiefel(20, 3), 20, 3, None, None),
    ("SpecialOrthogonal", pymanopt.manifolds.SpecialOrthogonalGroup(5), 5, 5, None, None),
]:
    x0 = start(n, p)
    if name == "SpecialOrthogonal":
        i, j = np.arange(1, n + 1)[:, None], np.arange(1, n + 1)[None, :]
        b = np.cos(i + 2 * j) + 2 * np.eye(n)
        cost, gradient = (lambda x: -np.sum(x * b)), (lambda x: -b)
        x0 = np.eye(n)
    else:
        a, weights = matrix(n), np.arange(p, 0, -1.0) if name == "Stiefel" else np.ones(p)
        cost, gradient = (lambda x: -np.sum(x * (a @ x) * weights) / 2), (lambda x: -(a @ x) * weights)
    for method, solver in [("gradient descent", SteepestDescent), ("conjugate gradient", ConjugateGradient)]:
        count = {"cost": 0, "gradient": 0}

        @pymanopt.function.numpy(manifold)
        def value(x):
            count["cost"] += 1
            return cost(x)

        @pymanopt.function.numpy(manifold)
        def slope(x):
            count["gradient"] += 1
            return gradient(x)

        problem = pymanopt.Problem(manifold, value, euclidean_gradient=slope)
        result = solver(max_iterations=10000, min_step_size=0, min_gradient_norm=1e-6, max_time=100, verbosity=0).run(problem, initial_point=x0)
        runs.append({"manifold": name, "method": method, "n": n, "p": p, "start": x0.ravel().tolist(), "costs": count["cost"],
                     "gradients": count["gradient"], "iterations": result.iterations, "cost": float(result.cost)})
        print(name, method, count, result.iterations, result.cost)

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pymanopt.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r) for r in runs) + "\n]\n")
