# SPDX-License-Identifier: Apache-2.0
"""Runs of SciPy for solvers/minimize_test.go.

    python3 solvers/testdata/minimize.py

writes minimize.json beside this file: how many evaluations of the chained function of Rosenbrock and its gradient
scipy.optimize.minimize needs before the norm of the gradient is 1e-8, from x = (-1.2, 1, -1.2, 1, ...).
"""

import json
import os

import numpy as np
from scipy.optimize import minimize


def rosenbrock(x):
    a, b = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    g = np.zeros_like(x)
    g[:-1] -= 400 * a * x[:-1] + 2 * b
    g[1:] += 200 * a
    return np.sum(100 * a**2 + b**2), g


def evaluations(method, n, options):
    count, needed = 0, 0

    def f(x):
        nonlocal count, needed
        count += 1
        c, g = rosenbrock(x)
        if needed == 0 and np.linalg.norm(g) <= 1e-8:
            needed = count
        return c, g

    r = minimize(f, np.tile([-1.2, 1.0], n // 2), jac=True, method=method, options=options)
    assert needed > 0, r
    return {"method": method, "n": n, "evaluations": needed, "solution": list(r.x)}


runs = []
for n in (2, 6, 20):
    runs.append(evaluations("CG", n, {"gtol": 1e-10, "maxiter": 10000}))
    runs.append(evaluations("L-BFGS-B", n, {"gtol": 1e-10, "ftol": 0, "maxcor": 10, "maxiter": 10000, "maxfun": 100000}))
with open(os.path.join(os.path.dirname(__file__), "minimize.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(r) for r in runs) + "\n]\n")
