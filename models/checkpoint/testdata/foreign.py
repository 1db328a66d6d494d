# SPDX-License-Identifier: Apache-2.0
"""Nets and parametrizations of other repositories in PyTorch, for models/checkpoint/import_test.go.

    OMP_NUM_THREADS=1 python3 models/checkpoint/testdata/foreign.py

writes foreign.json beside this file: the names and the shapes of the state_dict of each net, and its logits in
evaluation for two images; those of each parametrized layer, and its weight. Parameters and images are not in it:
they come from a generator that the test repeats. They are float32 numbers; all is computed in float64.
"""

import json
import math
import os

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
CLASSES = 10


class Generator:
    """x = 1664525 x + 1013904223 mod 2^32 (Knuth and Lewis); a draw is the top 8 bits as a number in [-1, 1)."""

    def __init__(self, seed):
        self.x = seed

    def tensor(self, shape):
        draws = []
        for _ in range(torch.Size(shape).numel()):
            self.x = (1664525 * self.x + 1013904223) % 2**32
            draws.append((self.x >> 24) / 128 - 1)
        return torch.tensor(draws).reshape(shape)


def fill(module):
    """Sets all parameters, and returns their names and shapes."""
    g, tensors = Generator(1), []
    state = module.state_dict()
    for name, t in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        draws, kind = g.tensor(t.shape), name.split(".")[-1]
        if kind == "running_var":
            draws = 1 + draws / 2
        elif kind == "weight" and t.dim() > 1:
            draws = draws * math.sqrt(3 / t[0].numel())
        elif kind in ("weight", "weight_g"):
            draws = 1 + draws / 4
        elif kind == "original":
            draws.diagonal(dim1=-2, dim2=-1).mul_(8)  # the householder map takes its integer part
        elif kind in ("bias", "running_mean"):
            draws = draws / 2
        state[name] = draws.float().double()
        tensors.append({"name": name, "shape": list(t.shape)})
    module.load_state_dict(state)
    return tensors


class Zeros(nn.Module):
    """The shortcut of akamaster/pytorch_resnet_cifar10: out // 4 channels of zeros before and after."""

    def __init__(self, out):
        super().__init__()
        self.more = out // 4

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))


class Block(nn.Module):
    def __init__(self, channels, out, stride, projection):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = Zeros(out)
            if projection:
                self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Module):
    """With the layers' names of akamaster/pytorch_resnet_cifar10 and kuangliu/pytorch-cifar."""

    def __init__(self, projection):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16, 1, projection))
        self.layer2 = nn.Sequential(Block(16, 32, 2, projection))
        self.layer3 = nn.Sequential(Block(32, 64, 2, projection))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class VGG11(nn.Module):
    """The features of torchvision's vgg11_bn, whose convolutions have a bias, and one linear layer."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for out in [64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0]:
            if out == 0:
                layers += [nn.MaxPool2d(2)]
                continue
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, CLASSES)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def net(module, side):
    tensors = fill(module)
    module.eval()
    with torch.no_grad():
        return {"side": side, "tensors": tensors, "logits": module(Generator(2).tensor((2, 3, side, side))).flatten().tolist()}


def parametrized(layer):
    tensors = fill(layer)
    with torch.no_grad():
        layer(torch.zeros(1, *layer.weight.shape[1:2], *([4, 4] if layer.weight.dim() == 4 else [])))  # weight_norm computes then
        return {"tensors": tensors, "shape": list(layer.weight.shape), "weight": layer.weight.flatten().tolist()}


LAYERS = {
    "conv": lambda: nn.Conv2d(2, 5, 3, bias=False),
    "wide": lambda: nn.Linear(6, 4),
    "tall": lambda: nn.Linear(3, 7),
    "square": lambda: nn.Linear(5, 5),
}
layers = {}
for kind, make in LAYERS.items():
    for dim in (0, 1, None):
        layers[f"weight_norm {dim} {kind}"] = parametrized(weight_norm(make(), dim=dim))
    for of in ("matrix_exp", "cayley", "householder", None):
        for base in (True, False):
            if of is None and not base:
                continue
            name = f"{of or 'default'} {'with base' if base else 'without base'} {kind}"
            layer = parametrized(parametrizations.orthogonal(make(), orthogonal_map=of, use_trivialization=base))
            layers[name] = {**layer, "map": of or "default"}

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "foreign.json"), "w") as f:
    json.dump({
        "provenance": {
            "command": "OMP_NUM_THREADS=1 python3 models/checkpoint/testdata/foreign.py", "torch": torch.__version__,
        },
        "nets": {
            "akamaster ResNet-8": net(ResNet8(False), 8),
            "kuangliu ResNet-8": net(ResNet8(True), 8),
            "torchvision VGG-11": net(VGG11(), 32),
        },
        "layers": layers,
    }, f)
    f.write("\n")
