# SPDX-License-Identifier: Apache-2.0
"""What geoopt and pymanopt compute, for manifolds/reference_test.go and docs/names.md.

    python3 manifolds/testdata/peers.py GEOOPT PYMANOPT

writes peers.json beside this file, in float64, and prints where they differ from this package. GEOOPT and PYMANOPT are folders with
their sources: geoopt 0.5.1 (commit 07598cdbf875), with PyTorch 1.13, and pymanopt (commit a1f52e740925), with NumPy and SciPy. Operations
have our names; points are n x p with n >= p.
"""

import json
import os
import sys
import types

import numpy as np
import scipy.linalg as la
import torch

sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[2], "src")]
sys.modules["pymanopt._version"] = types.SimpleNamespace(__version__="")  # written by an installation
import geoopt  # noqa: E402
import pymanopt.manifolds  # noqa: E402
import pymanopt.tools.multi  # noqa: E402

pymanopt.tools.multi.scipy_expm = la.expm  # it takes SciPy 1.10 for older than 1.9

rng = np.random.default_rng(9)
cases = []


def case(manifold, op, want, *args):
    n, p = args[0].shape
    cases.append({"manifold": manifold, "radius": 1, "op": op, "n": n, "p": p, "args": [a.ravel().tolist() for a in args],
                  "want": np.ravel(np.asarray(want)).tolist()})


def frame(n, p):
    return la.polar(rng.standard_normal((n, p)))[0]


def sized(v, size):
    return v * (size / np.linalg.norm(v))


def torched(f):
    """f of arrays as tensors."""
    return lambda *args: f(*(torch.tensor(a) for a in args)).numpy()


def span(m, name, n, p, size, geodesic=True, logarithm=True):
    """The operations of a manifold of pymanopt."""
    x, a, b = m.random_point(), rng.standard_normal((n, p)), rng.standard_normal((n, p))
    v, u = m.projection(x, a), m.projection(x, b)
    v = sized(v, size)
    case(name, "tangent", m.projection(x, a), x, a)
    y = m.exp(x, v)
    case(name, "exp", y, x, v)
    case(name, "transport", m.transport(x, y, u), x, y, u)
    if logarithm:
        case(name, "log", m.log(x, y), x, y)
        case(name, "dist", m.dist(x, y), x, y)
    return x, v, u, y


np.random.seed(3)
for n, p, size in [(6, 2, 0.4), (5, 3, 1.2)]:
    m = pymanopt.manifolds.Sphere(n, p)
    x, v, u, _ = span(m, "Sphere", n, p, size)
    case("Sphere", "retract", m.retraction(x, v), x, v)
    m = pymanopt.manifolds.Oblique(n, p)
    x, v, u, _ = span(m, "Oblique", n, p, size)
    case("Oblique", "retract", m.retraction(x, v), x, v)
    m = pymanopt.manifolds.Grassmann(n, p)
    x, v, u, _ = span(m, "Grassmann", n, p, size)
    case("Grassmann", "retract", m.retraction(x, v), x, v)
    m = pymanopt.manifolds.Stiefel(n, p)
    x, v, u, y = span(m, "Stiefel QR", n, p, size, logarithm=False)
    case("Stiefel QR", "retract", m.retraction(x, v), x, v)
    case("Stiefel polar", "retract", pymanopt.manifolds.Stiefel(n, p, retraction="polar").retraction(x, v), x, v)

    m = geoopt.EuclideanStiefel()
    a = rng.standard_normal((n, p))
    case("Stiefel QR", "project", torched(m.projx)(a), a)
    case("Stiefel QR", "tangent", torched(m.proju)(x, a), x, a)
    case("Stiefel QR", "retract", torched(m.retr)(x, v), x, v)
    print(f"Stiefel, {n} x {p}: the exponentials of geoopt and of pymanopt differ by {np.abs(torched(m.expmap)(x, v) - y).max():.1e}")
    case("Stiefel QR", "transport", torched(m.transp)(x, y, u), x, y, u)
    m = geoopt.CanonicalStiefel()
    case("Stiefel canonical", "gradient", torched(m.egrad2rgrad)(x, a), x, a)
    case("Stiefel canonical", "inner", torched(m.inner)(x, v, u), x, v, u)
    print(f"canonical Stiefel of geoopt, {n} x {p}: proju changes a tangent vector by {np.linalg.norm(torched(m.proju)(x, v) - v) / size:.3f} of its length")
    errors = [np.linalg.norm(torched(m.retr)(x, t * v) - x - t * v) for t in (1e-2, 1e-3)]
    w = v - x @ (x.T @ v) / 2
    ours = [np.linalg.norm(torched(m.retr)(x, t * w) - x - t * v) for t in (1e-2, 1e-3)]
    print(f"  |retr(tv) - x - tv| is of order {np.log10(errors[0] / errors[1]):.2f}, for v - x x'v/2 in place of v of order {np.log10(ours[0] / ours[1]):.2f}")
    skew = w @ x.T - x @ w.T
    case("Stiefel Cayley", "retract", torched(m.retr)(x, w), x, v)  # geoopt gets w

    m = geoopt.SphereExact()
    x = sized(rng.standard_normal(n * p), 1)
    v, u = (torched(m.proju)(x, rng.standard_normal(n * p)) for _ in range(2))
    v = sized(v, size)
    y = torched(m.expmap)(x, v)
    shaped = [a.reshape(n, p) for a in (x, v, u, y)]
    a = rng.standard_normal((n, p))
    case("Sphere", "project", torched(m.projx)(a.ravel()), a)
    case("Sphere", "exp", y, *shaped[:2])
    case("Sphere", "log", torched(m.logmap)(x, y), shaped[0], shaped[3])
    case("Sphere", "dist", torched(m.dist)(x, y), shaped[0], shaped[3])
    case("Sphere", "retract", torched(geoopt.Sphere().retr)(x, v), *shaped[:2])
    case("Sphere", "transport", torched(m.transp)(x, y, u), shaped[0], shaped[3], shaped[2])
    kept = m.retr_transp(torch.tensor(x), torch.tensor(v), torch.tensor(v))[1].numpy()
    print(f"SphereExact of geoopt: after a step of {size} a velocity has {np.linalg.norm(kept) / size:.3f} of its length")

for n, size in [(2, 1.1), (3, 2.0), (5, 1.5)]:
    m = pymanopt.manifolds.SpecialOrthogonalGroup(n)
    x, a = m.random_point(), rng.standard_normal((n, n))
    k, other = sized(m.projection(x, a), size), m.projection(x, rng.standard_normal((n, n)))
    y = m.exp(x, k)
    name = "SpecialOrthogonal"
    case(name, "tangent", m.embedding(x, m.projection(x, a)), x, a)
    case(name, "exp", y, x, m.embedding(x, k))
    case(name, "log", m.embedding(x, m.log(x, y)), x, y)
    case(name, "dist", m.dist(x, y), x, y)
    case("SpecialOrthogonal QR", "retract", m.retraction(x, k), x, m.embedding(x, k))
    case("SpecialOrthogonal polar", "retract", pymanopt.manifolds.SpecialOrthogonalGroup(n, retraction="polar").retraction(x, k), x, m.embedding(x, k))
    there, half = m.embedding(y, m.transport(x, y, other)), la.expm(k / 2)
    parallel = y @ half.T @ other @ half
    projected = m.embedding(y, m.projection(y, m.embedding(x, other)))
    print(f"SO({n}) of pymanopt: its transport, y x'u, differs from parallel transport by {np.linalg.norm(there - parallel) / np.linalg.norm(other):.3f} of the length, "
          f"tangent projection by {np.linalg.norm(projected - parallel) / np.linalg.norm(other):.3f}")

x, v = sized(rng.standard_normal(6), 1), rng.standard_normal(6)
v = sized(v - x * (x @ v), 1)
frames = frame(6, 2)
h = rng.standard_normal((6, 2))
h = sized(h - frames @ (frames.T @ h), 1)
for d in (1e-3, 1e-5, 1e-7, 1e-9):
    y, z = np.cos(d) * x + np.sin(d) * v, pymanopt.manifolds.Grassmann(6, 2).exp(frames, d * h)
    print(f"distance {d:g}: relative errors of geoopt's sphere {abs(float(torched(geoopt.Sphere().dist)(x, y)) / d - 1):.1e}, "
          f"pymanopt's sphere {abs(pymanopt.manifolds.Sphere(6).dist(x, y) / d - 1):.1e}, pymanopt's Grassmann {abs(pymanopt.manifolds.Grassmann(6, 2).dist(frames, z) / d - 1):.1e}")

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
