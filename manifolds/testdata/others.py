# SPDX-License-Identifier: Apache-2.0
"""Where formulas of other libraries differ from ours: the numbers of docs/names.md.

    python3 manifolds/testdata/others.py

It computes published formulas with NumPy, and needs neither library.
"""

import numpy as np

rng = np.random.default_rng(1)
n, p = 8, 3
x = np.linalg.qr(rng.normal(size=(n, p)))[0]
g = rng.normal(size=(n, p))
s = x.T @ g
v = g - x @ (s + s.T) / 2
v /= np.linalg.norm(v)


def cayley(w):
    a = w @ x.T - x @ w.T
    return np.linalg.solve(np.eye(n) - a / 2, x + a @ x / 2)


for name, curve in [
    ("Cayley transform of v x' - x v'", lambda t: cayley(t * v)),
    ("Cayley transform of w x' - x w', w = v - x x'v/2", lambda t: cayley(t * (v - x @ (x.T @ v) / 2))),
]:
    errors = [np.linalg.norm(curve(t) - x - t * v) for t in (1e-2, 1e-3)]
    print(f"{name}: |R(tv) - x - tv| is of order {np.log10(errors[0] / errors[1]):.2f}")

x = rng.normal(size=6)
x /= np.linalg.norm(x)
v = rng.normal(size=6)
v -= x * (x @ v)
t = 0.8
v *= t / np.linalg.norm(v)
y = np.cos(t) * x + np.sin(t) / t * v
projected = v - y * (y @ v)
print(f"sphere, a step of {t} rad: projection keeps {np.linalg.norm(projected) / t:.3f} of the velocity, parallel transport all of it")
