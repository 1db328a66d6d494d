# SPDX-License-Identifier: Apache-2.0
"""Values and gradients of PyTorch for nodes/reference_test.go.

    OMP_NUM_THREADS=1 python3 nodes/testdata/reference.py

writes reference.json beside this file. All is computed in float64. Inputs and
cotangents are multiples of 1/256, which float32 holds exactly; bases of
orthogonal parametrisations are not.
"""

import json
import os

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

SEED = 3
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)
cases = []


def draw(*shape, grid=256):
    return (torch.randn(*shape) * grid).round() / grid


def numbers(x):
    return x.detach().reshape(-1).tolist()


def case(op, name, f, *inputs, constant=(), state=None, **params):
    """Adds the value of f and the gradients of <cotangent, f> in the inputs.

    state returns the state of the op as a dict of lists: it is written as it is
    before and after f.
    """
    inputs = [x.clone().requires_grad_(i not in constant) for i, x in enumerate(inputs)]
    c = {"op": op, "name": name, "params": params}
    if state:
        c["before"] = state()
    y = f(*inputs)
    if state:
        c["after"] = state()
    cotangent = draw(*y.shape) if y.dim() else torch.tensor(1.0)
    y.backward(cotangent)
    c["inputs"] = [{"shape": list(x.shape), "data": numbers(x)} for x in inputs]
    c["value"] = numbers(y)
    c["cotangent"] = numbers(cotangent)
    c["gradients"] = [None if i in constant else numbers(x.grad) for i, x in enumerate(inputs)]
    cases.append(c)


# The stock convolution.
for name, x, k, stride, pad, dilation in [
    ("3x3", (2, 2, 5, 4), (3, 2, 3, 3), (1, 1), (1, 1), (1, 1)),
    ("1x1", (2, 3, 3, 3), (2, 3, 1, 1), (1, 1), (0, 0), (1, 1)),
    ("strided", (2, 2, 6, 5), (2, 2, 3, 3), (2, 2), (1, 1), (1, 1)),
    ("not square", (1, 1, 6, 7), (2, 1, 3, 5), (1, 2), (1, 2), (1, 1)),
    ("dilated", (1, 2, 7, 6), (2, 2, 3, 3), (1, 1), (2, 2), (2, 2)),
]:
    case("conv2d", name, lambda x, w: F.conv2d(x, w, None, stride, pad, dilation), draw(*x), draw(*k),
         kernel=k[2:], stride=stride, pad=pad, dilation=dilation)

# Batch normalisation. The running variance of PyTorch is that divided by n - 1.
for training in [True, False]:
    for shape in [(3, 2, 3, 4), (2, 3, 1, 2), (5, 3)]:
        mean, variance = draw(shape[1]), draw(shape[1]).abs() + 0.5

        def batch_norm(x, scale, bias):
            return F.batch_norm(x, mean, variance, scale.flatten(), bias.flatten(), training, 0.125, 1e-5)

        one = (1, shape[1], 1, 1)[:len(shape)]
        case("batch_norm", "training" if training else "evaluation", batch_norm, 2 * draw(*shape) + 1, draw(*one), draw(*one),
             state=lambda: {"mean": numbers(mean), "variance": numbers(variance)},
             training=training, momentum=0.125, epsilon=1e-5)

# Poolings. Multiples of 1 have equal elements in a window.
for name, shape, kernel, stride, pad, grid in [
    ("2x2", (2, 2, 4, 6), (2, 2), (2, 2), (0, 0), 256),
    ("3x3", (1, 2, 6, 5), (3, 3), (2, 2), (1, 1), 256),
    ("not square", (2, 1, 5, 7), (2, 3), (1, 2), (0, 1), 256),
    ("ties", (1, 2, 5, 5), (3, 3), (1, 1), (1, 1), 1),
]:
    x = draw(*shape, grid=grid)
    case("max_pool", name, lambda x: F.max_pool2d(x, kernel, stride, pad), x, kernel=kernel, stride=stride, pad=pad)
    case("average_pool", name, lambda x: F.avg_pool2d(x, kernel, stride, pad), x, kernel=kernel, stride=stride, pad=pad)
for shape in [(2, 3, 4, 5), (2, 2, 1, 1)]:
    case("global_average_pool", "x".join(map(str, shape)), lambda x: F.adaptive_avg_pool2d(x, 1), draw(*shape))

for groups in [1, 2, 4]:
    for shape in [(2, 4, 3, 2), (3, 8)]:
        one = (1, shape[1], 1, 1)[:len(shape)]
        case("group_norm", f"{groups} groups", lambda x, scale, bias: F.group_norm(x, groups, scale.flatten(), bias.flatten(), 1e-5),
             2 * draw(*shape) + 1, draw(*one), draw(*one), groups=groups, epsilon=1e-5)

# Cross-entropy of logits and of classes as numbers, or as their weights.
labels = torch.tensor([2, 0, 4, 2])
for name, z, t in [
    ("labels", 2 * draw(4, 5), labels),
    ("large logits", 1000 * draw(4, 5), labels),
    ("weights", draw(3, 4), torch.tensor([[0.5, 0.25, 0.125, 0.125], [0, 0, 1, 0], [0.25, 0.25, 0.25, 0.25]])),
]:
    weights = t if t.is_floating_point() else F.one_hot(t, z.shape[1]).double()
    case("cross_entropy", name, lambda z, _: F.cross_entropy(z, t), z, weights, constant=[1])


def weight_norm(dim):
    def f(v, g):
        module = nn.Module()
        module.weight = nn.Parameter(v.detach())
        (hook,) = nn.utils.weight_norm(module, dim=dim)._forward_pre_hooks.values()
        del module.weight_v, module.weight_g
        module.weight_v, module.weight_g = v, g
        return hook.compute_weight(module)
    return f


# A weight (in, out) has its filters in columns, dimension 1.
case("weight_norm", "kernel", weight_norm(0), draw(3, 2, 3, 2), draw(3, 1, 1, 1))
case("weight_norm", "1x1", weight_norm(0), draw(4, 3, 1, 1), draw(4, 1, 1, 1))
case("weight_norm", "matrix", weight_norm(1), draw(4, 3), draw(1, 3))


def unit(x):
    return x / x.norm()


def spectral_norm(w, u, v, iterations, training):
    """torch.nn.utils.spectral_norm, which computes v = W^T u before u = W v, as ours."""
    module = nn.Module()
    module.weight = nn.Parameter(w)
    (hook,) = nn.utils.spectral_norm(module, n_power_iterations=iterations)._forward_pre_hooks.values()
    module.weight_u, module.weight_v = u, v

    def f(w):
        del module.weight_orig
        module.weight_orig = w
        return hook.compute_weight(module, do_power_iteration=training)
    return f, lambda: {"u": numbers(module.weight_u), "v": numbers(module.weight_v)}


def spectral_parametrisation(w, u, v, iterations, training):
    """torch.nn.utils.parametrizations.spectral_norm, which computes u = W v before
    v = W^T u. On a matrix (in, out) that is what ours does, u and v changing places,
    as the bank of ours is the transpose. On a kernel it is half an iteration apart from
    ours, and the same once it has converged."""
    module = nn.Module()
    module.weight = nn.Parameter(w)
    p = parametrizations.spectral_norm(module, n_power_iterations=iterations).parametrizations.weight[0]
    p.train(training)
    if w.dim() == 4:
        p._u, p._v = u, unit(w.flatten(1).T @ u)
        return p, lambda: {"u": numbers(p._u), "v": numbers(p._v)}
    p._u, p._v = v, u
    return p, lambda: {"u": numbers(p._v), "v": numbers(p._u)}


for name, shape, iterations, training, of in [
    ("kernel", (3, 2, 3, 3), 1, True, spectral_norm),
    ("three iterations", (4, 2, 2, 3), 3, True, spectral_norm),
    ("evaluation", (3, 2, 3, 3), 1, False, spectral_norm),
    ("converged", (3, 2, 3, 2), 200, True, spectral_parametrisation),
    ("matrix", (5, 3), 1, True, spectral_parametrisation),
    ("matrix, two iterations", (3, 4), 2, True, spectral_parametrisation),
    ("matrix, evaluation", (3, 4), 1, False, spectral_parametrisation),
]:
    w = draw(*shape)
    bank = w.flatten(1) if w.dim() == 4 else w.T
    u, v = unit(draw(bank.shape[0])), unit(draw(bank.shape[1]))
    if not training:  # vectors of a positive u^T W v
        v = unit(bank.T @ u)
    f, state = of(w, u.clone(), v.clone(), iterations, training)
    case("spectral_norm", name, f, w, state=state, iterations=iterations, training=training)

# Orthogonal matrices. PyTorch takes A = tril(X) - tril(X)^T, X filled up with zeros
# to a square, and the first columns of B exp(A), B being a square base.
for of in ["matrix_exp", "cayley"]:
    for shape in [(4, 4), (6, 3), (3, 5)]:
        module = nn.Module()
        module.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(shape)))
        p = parametrizations.orthogonal(module, orthogonal_map=of).parametrizations.weight[0]
        case("orthogonal", of, lambda x, base: p(x), draw(*shape), p.base, constant=[1], cayley=of == "cayley")

# Activations that reflect pairs of channels. PyTorch has neither; these are the formulas, differentiated by it.
def max_min(x):
    a, b = x.split(x.shape[1] // 2, 1)
    return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], 1)


def householder(x, angle):
    a, b = x.split(x.shape[1] // 2, 1)
    v = torch.stack([torch.sin(angle / 2), -torch.cos(angle / 2)])
    z = torch.stack([a + 0 * angle, b + 0 * angle])
    along = (v * z).sum(0)
    y = torch.where(along >= 0, z, z - 2 * along * v)
    return torch.cat([y[0], y[1]], 1)


for name, shape in [("images", (2, 6, 3, 4)), ("vectors", (5, 8)), ("two channels", (1, 2, 5, 3))]:
    case("max_min", name, max_min, draw(*shape))
    case("householder", name, householder, draw(*shape), 2 * draw(1, shape[1] // 2, *[1] * (len(shape) - 2)))

# The further nodes of nets for ImageNet.
for name, shape, kernel, stride, pad, grid in [
    ("3x3", (1, 2, 6, 8), (3, 3), (2, 2), (0, 0), 256),
    ("padded", (1, 2, 6, 5), (3, 2), (2, 2), (1, 1), 256),
    ("a window in the padding", (2, 1, 5, 4), (2, 2), (3, 2), (1, 0), 256),
    ("ties", (1, 2, 6, 6), (3, 3), (2, 2), (0, 0), 1),
]:
    case("max_pool_ceil", name, lambda x: F.max_pool2d(x, kernel, stride, pad, ceil_mode=True), draw(*shape, grid=grid), kernel=kernel, stride=stride, pad=pad)
for shape, to in [((2, 2, 9, 7), (7, 7)), ((1, 3, 4, 5), (2, 3)), ((2, 1, 1, 2), (3, 4)), ((1, 2, 8, 6), (1, 1))]:
    case("adaptive_average_pool", f"{shape[2]}x{shape[3]} to {to[0]}x{to[1]}", lambda x: F.adaptive_avg_pool2d(x, to), draw(*shape), kernel=to)
case("rectify_to", "ReLU6", F.relu6, draw(2, 3, 4, 5) * 8 + 1 / 512, top=6)
case("concat", "images", lambda *x: torch.cat(x, 1), draw(2, 1, 3, 2), draw(2, 4, 3, 2), draw(2, 2, 3, 2))
case("concat", "vectors", lambda *x: torch.cat(x, 1), draw(3, 2), draw(3, 1))

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "reference.json"), "w") as f:
    f.write(json.dumps({"provenance": {
        "command": "OMP_NUM_THREADS=1 python3 nodes/testdata/reference.py",
        "torch": torch.__version__,
        "seed": SEED,
    }})[:-1] + ', "cases": [\n' + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]}\n")
