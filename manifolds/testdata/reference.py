# SPDX-License-Identifier: Apache-2.0
"""Values of the operations of manifolds, for manifolds/reference_test.go.

    python3 manifolds/testdata/reference.py

writes reference.json beside this file, in float64, with NumPy and SciPy. The formulas are other ones
than those of the package: geodesics are exponentials of n x n skew matrices, logarithms are logarithms
of orthogonal ones. Points are n x p with n >= p.
"""

import json
import os

import numpy as np
import scipy.linalg as la

rng = np.random.default_rng(5)
cases = []


def case(manifold, op, args, want, radius=1.0):
    n, p = args[0].shape
    cases.append(
        {
            "manifold": manifold,
            "radius": radius,
            "op": op,
            "n": n,
            "p": p,
            "args": [a.reshape(-1).tolist() for a in args],
            "want": np.asarray(want).reshape(-1).tolist(),
        }
    )


def polar(a):
    return la.polar(a)[0]


def length(v, size):
    return v * (size / np.linalg.norm(v))


def grassmann(n, p, size, r):
    a, g = rng.standard_normal((n, p)), rng.standard_normal((n, p))
    x = r * polar(a)
    off = np.eye(n) - x @ x.T / r**2
    v, u = length(off @ g, size * r), off @ rng.standard_normal((n, p))
    w = (v @ x.T - x @ v.T) / r**2  # w x = v
    turn = la.expm(w)
    end = turn @ x
    q = polar(rng.standard_normal((p, p)))  # another basis of the same subspace
    y = end @ q
    name = "Grassmann"
    case(name, "project", [a], x, r)
    case(name, "tangent", [x, g], off @ g, r)
    case(name, "retract", [x, v], r * polar(x + v), r)
    case(name, "exp", [x, v], end, r)
    log = la.logm((np.eye(n) - 2 * y @ y.T / r**2) @ (np.eye(n) - 2 * x @ x.T / r**2)).real / 2 @ x
    np.testing.assert_allclose(log, v, atol=1e-13)
    case(name, "log", [x, y], log, r)
    case(name, "dist", [x, y], r * np.linalg.norm(la.subspace_angles(x, y)), r)
    case(name, "parallel", [x, y, u], turn @ u @ q, r)
    case(name, "along", [x, v, end, u], turn @ u, r)
    case(name, "transport", [x, y, u], u - y @ (y.T @ u) / r**2, r)


for shape in [(6, 2, 0.3, 1.0), (5, 3, 1.2, 1.0), (7, 1, 0.9, 2.5), (12, 4, 1.4, 0.25)]:
    grassmann(*shape)


def stiefel(n, p, size, r):
    x = r * polar(rng.standard_normal((n, p)))
    v = rng.standard_normal((n, p))
    v = length(v - x @ (x.T @ v + v.T @ x) / (2 * r**2), size * r)
    w = v - x @ (x.T @ v) / (2 * r**2)
    skew = (w @ x.T - x @ w.T) / r**2
    case("Stiefel", "retract", [x, v], la.solve(np.eye(n) - skew / 2, (np.eye(n) + skew / 2) @ x), r)


def rotation(n, size, r, proper):
    name = "SpecialOrthogonal" if proper else "Orthogonal"
    a, g = rng.standard_normal((n, n)), rng.standard_normal((n, n))
    u, _, wt = la.svd(a)
    if proper:
        u[:, -1] *= np.linalg.det(u @ wt)
    x = r * u @ wt

    def tangent(x, g):
        return (g - x @ g.T @ x / r**2) / 2

    v, other = length(tangent(x, rng.standard_normal((n, n))), size * r), tangent(x, rng.standard_normal((n, n)))
    k = x.T @ v / r**2
    y = x @ la.expm(k)
    half = la.expm(k / 2)
    log = x @ la.logm(x.T @ y / r**2).real
    np.testing.assert_allclose(log, v, atol=1e-13)
    case(name, "project", [a], x, r)
    case(name, "tangent", [x, g], tangent(x, g), r)
    case(name, "exp", [x, v], y, r)
    case(name, "log", [x, y], log, r)
    case(name, "dist", [x, y], r * np.linalg.norm(la.logm(x.T @ y / r**2)), r)
    case(name, "parallel", [x, y, other], y @ half.T @ x.T @ other @ half / r**2, r)
    case(name, "along", [x, v, y, other], y @ half.T @ x.T @ other @ half / r**2, r)
    case(name, "transport", [x, y, other], tangent(y, other), r)


def stiefel_inverse(n, p, size, r):
    """Inverse retractions and logarithms are known from the vector that a point was made with."""
    x = r * polar(rng.standard_normal((n, p)))
    v = rng.standard_normal((n, p))
    v = length(v - x @ (x.T @ v + v.T @ x) / (2 * r**2), size * r)
    q, t = la.qr(x + v, mode="economic")
    case("Stiefel QR", "inverse", [x, r * q * np.sign(np.diag(t))], v, r)
    case("Stiefel polar", "inverse", [x, r * polar(x + v)], v, r)
    a = x.T @ v / r**2
    w = v - x @ a / 2
    skew = (w @ x.T - x @ w.T) / r**2
    case("Stiefel Cayley", "inverse", [x, la.solve(np.eye(n) - skew / 2, (np.eye(n) + skew / 2) @ x)], v, r)
    # Geodesics: exp of a skew n x n matrix, in the Euclidean metric times a rotation on the right.
    y = la.expm(skew) @ x
    case("Stiefel canonical", "log", [x, y], v, r)
    case("Stiefel canonical", "dist", [x, y], np.sqrt(np.sum(v * v) - np.sum((x.T @ v) ** 2) / (2 * r**2)), r)
    full = (v @ x.T - x @ v.T) / r**2
    y = la.expm(full) @ x @ la.expm(-a)
    case("Stiefel", "log", [x, y], v, r)
    case("Stiefel", "dist", [x, y], np.linalg.norm(v), r)


for shape in [(6, 2, 0.3, 1.0), (5, 3, 2.2, 2.5), (4, 4, 1.2, 1.0), (12, 5, 9, 0.25)]:
    stiefel(*shape)

for shape in [(2, 1.1, 1.0, True), (3, 2.0, 2.5, True), (3, 0.2, 1.0, False), (5, 1.5, 1.0, True)]:
    rotation(*shape)

for shape in [(6, 2, 0.3, 1.0), (5, 3, 0.9, 2.5), (4, 4, 0.8, 1.0), (12, 5, 1.6, 0.25)]:
    stiefel_inverse(*shape)


def others_inverse(n, p, size, r):
    a = rng.standard_normal((n, p))
    x = a * (r / np.linalg.norm(a))
    v = rng.standard_normal((n, p))
    v = length(v - x * np.sum(x * v) / r**2, size * r)
    y = x + v
    case("Sphere", "inverse", [x, y * (r / np.linalg.norm(y))], v, r)
    x = r * polar(a)
    v = rng.standard_normal((n, p))
    v = length(v - x @ (x.T @ v) / r**2, size * r)
    turned = r * polar(x + v) @ polar(rng.standard_normal((p, p)))
    case("Grassmann", "inverse", [x, turned], v, r)


for shape in [(6, 2, 0.3, 1.0), (5, 3, 2.2, 2.5)]:
    others_inverse(*shape)

def generalized(n, p, size, r):
    """x' B x = r^2 I for B of definite(n), which the test makes by the same formula."""
    b = np.diag(1 + np.arange(n) / n) + 0.1
    root = la.sqrtm(b).real
    inverse = la.inv(root)
    name = "GeneralizedStiefel"
    a, g = rng.standard_normal((n, p)), rng.standard_normal((n, p))
    x = r * inverse @ polar(root @ a)
    case(name, "project", [a], x, r)
    sym = x.T @ b @ g
    tangent = g - x @ (sym + sym.T) / (2 * r**2)
    case(name, "tangent", [x, g], tangent, r)
    sym = x.T @ g
    case(name, "gradient", [x, g], la.solve(b, g) - x @ (sym + sym.T) / (2 * r**2), r)
    v = length(tangent, size * r)
    upper = la.cholesky((x + v).T @ b @ (x + v))
    case(name, "retract", [x, v], r * (x + v) @ la.inv(upper), r)
    case(name, "inner", [x, v, g], np.trace(v.T @ b @ g), r)
    w, z = root @ v, root @ x
    end = inverse @ la.expm((w @ z.T - z @ w.T) / r**2) @ z @ la.expm(-z.T @ w / r**2)
    case(name, "exp", [x, v], end, r)
    case(name, "log", [x, end], v, r)
    case(name, "dist", [x, end], np.linalg.norm(w), r)


for shape in [(6, 2, 0.3, 1.0), (5, 3, 0.9, 2.5)]:
    generalized(*shape)

def ball(n, p, r):
    a = rng.standard_normal((n, p))
    u, s, wt = la.svd(a, full_matrices=False)
    case("SpectralBall", "project", [a], u @ np.diag(np.minimum(s, r)) @ wt, r)
    x = 0.5 * r * a / s[0]
    case("SpectralBall", "retract", [x, a], la.svd(x + a, full_matrices=False)[0] @ np.diag(np.minimum(la.svdvals(x + a), r)) @ la.svd(x + a, full_matrices=False)[2], r)


for shape in [(6, 2, 1.0), (5, 3, 1.5), (4, 4, 0.25), (3, 2, 0.01)]:
    ball(*shape)


with open(os.path.join(os.path.dirname(__file__), "reference.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
