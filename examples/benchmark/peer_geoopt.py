# SPDX-License-Identifier: Apache-2.0
"""geoopt: Riemannian SGD with momentum on kernels of given shapes.

geoopt constrains the last one or two axes of a parameter, and on Stiefel the
columns of tall matrices, so kernels are laid out that way once, beforehand.
"""
import peer

try:
    import torch
except ImportError:
    peer.missing("torch")
try:
    import geoopt
except ImportError:
    peer.missing("geoopt")


def filters(shape):
    """A filter a row."""
    return (shape[0], shape[1] * shape[2] * shape[3])


def slices(shape):
    """A kH x kW slice a row."""
    return (shape[0] * shape[1], shape[2] * shape[3])


def bank(shape):
    """The filter bank as a tall matrix."""
    p, n = filters(shape)
    return (max(p, n), min(p, n))


def matrices(shape):
    """A batch of kH x kW matrices."""
    return (shape[0] * shape[1], shape[2], shape[3])


def descent(manifold, layout, start):
    def make(request):
        points = (start(torch.randn(layout(s))) for s in request["shapes"])
        parameters = [geoopt.ManifoldParameter(p, manifold=manifold) for p in points]
        optimizer = geoopt.optim.RiemannianSGD(parameters, lr=1e-3, momentum=0.9)
        return peer.Optimizer(parameters, optimizer)

    return make


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def orthonormal(x):
    return torch.linalg.qr(x)[0]


torch.set_num_threads(peer.threads)
torch.manual_seed(1)
sphere, stiefel = geoopt.Sphere(), geoopt.EuclideanStiefel()
peer.serve(
    "geoopt " + geoopt.__version__,
    {
        "sphere per filter": descent(sphere, filters, unit),
        "sphere per slice": descent(sphere, slices, unit),
        "stiefel bank": descent(stiefel, bank, orthonormal),
        "stiefel per slice": descent(stiefel, matrices, orthonormal),
    },
)
