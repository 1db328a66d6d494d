# SPDX-License-Identifier: Apache-2.0
"""Runs of the solvers of geoopt for solvers/geoopt_test.go and docs/names.md.

    python3 solvers/testdata/geoopt.py DIR

writes geoopt.json beside this file: the weights after 1 and after 100 steps in float64. DIR holds the sources of geoopt 0.5.1 (commit
07598cdbf875), which run with PyTorch. Gradients are those of adagrad.py: sin(0.7 i + 0.3 t) + 0.1 (1 + i mod 3) x_i. The layer is one matrix with a
filter in each row; geoopt has the transpose on Stiefel. The momentum is set before the first step such that it is the first Riemannian gradient after it, as here. Without that,
geoopt adds the first Euclidean gradient; how much that changes is printed.
"""

import json
import os
import sys

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
import geoopt  # noqa: E402

STEPS, RATE, THETA = 100, 0.05, 0.9
rules = {
    "SGD": lambda p: geoopt.optim.RiemannianSGD(p, lr=RATE),
    "SGD with momentum": lambda p: geoopt.optim.RiemannianSGD(p, lr=RATE, momentum=THETA),
    "SGD with dampening": lambda p: geoopt.optim.RiemannianSGD(p, lr=RATE, momentum=THETA, dampening=0.5),
    "Nesterov": lambda p: geoopt.optim.RiemannianSGD(p, lr=RATE, momentum=THETA, nesterov=True),
    "Adam": lambda p: geoopt.optim.RiemannianAdam(p, lr=RATE),
    "AMSGrad": lambda p: geoopt.optim.RiemannianAdam(p, lr=RATE, amsgrad=True),
}


def run(manifold, rule, start, turned, own=True):
    w = geoopt.ManifoldParameter(torch.tensor(start.T.copy() if turned else start), manifold=manifold)
    solver = rules[rule]([w])
    i, kept = np.arange(start.size).reshape(start.shape), {}
    for t in range(STEPS):
        x = w.detach().numpy()
        g = np.sin(0.7 * i + 0.3 * t) + 0.1 * (1 + i % 3) * (x.T if turned else x)
        w.grad = torch.tensor(g.T.copy() if turned else g)
        if t == 0 and own and solver.defaults.get("momentum"):
            damped = solver.defaults["dampening"] / solver.defaults["momentum"]
            solver.state[w]["momentum_buffer"] = damped * manifold.egrad2rgrad(w.detach(), w.grad)
        solver.step()
        if t in (0, STEPS - 1):
            x = w.detach().numpy()
            kept[t + 1] = (x.T if turned else x).copy()
    return kept


rng = np.random.default_rng(6)
cases = []
for name, manifold, shape, turned in [
    ("Euclidean", geoopt.Euclidean(), (4, 3, 1, 3), False),
    ("Sphere", geoopt.Sphere(), (5, 2, 3, 1), False),
    ("geodesic Sphere", geoopt.SphereExact(), (5, 2, 3, 1), False),
    ("Stiefel", geoopt.EuclideanStiefel(), (4, 3, 1, 3), True),
    ("canonical Stiefel", geoopt.CanonicalStiefel(), (3, 2, 2, 2), True),
]:
    start = rng.normal(size=(shape[0], int(np.prod(shape[1:]))))
    if turned:
        start = np.linalg.qr(start.T)[0].T
    elif name != "Euclidean":
        start /= np.linalg.norm(start, axis=1, keepdims=True)
    for rule in rules:
        kept = run(manifold, rule, start, turned)
        cases.append({"rule": rule, "manifold": name, "shape": shape, "start": start.ravel().tolist(),
                      "first": kept[1].ravel().tolist(), "last": kept[STEPS].ravel().tolist()})
        if rule == "SGD with momentum":
            theirs = run(manifold, rule, start, turned, own=False)
            print(f"{name}: with the first Euclidean gradient as momentum the weights differ by {np.abs(theirs[1] - kept[1]).max():.3f} after 1 step, "
                  f"{np.abs(theirs[STEPS] - kept[STEPS]).max():.1e} after {STEPS}")

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "geoopt.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
