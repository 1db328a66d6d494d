# SPDX-License-Identifier: Apache-2.0
"""Nets of torchvision, for models/checkpoint/imagenet_test.go.

    OMP_NUM_THREADS=1 python3 models/checkpoint/testdata/imagenet.py

writes beside this file

    imagenet.json              names and shapes of the state_dict of each net, and its logits in evaluation for two images
    imagenet-slim.safetensors  the state_dict of a slim ResNet-18 after three steps of training, with images and logits

Parameters and images of the first are not in it: they come from the generator of foreign.py, which the test repeats. They are
float32 numbers; all is computed in float64. Nets whose name ends in "slim" have an eighth of the channels.
"""

import json
import math
import os

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import mobilenetv2, resnet, squeezenet, vgg

import pytorch

CLASSES, HEIGHT, WIDTH = 10, 72, 56


class Generator:
    """Generator of foreign.py, with many draws at a time: x_{i+m} = a x_i + c, where a and c are those of m steps."""

    def __init__(self, seed):
        self.x = seed

    def tensor(self, shape):
        n = torch.Size(shape).numel()
        x = np.array([(1664525 * self.x + 1013904223) % 2**32], dtype=np.uint32)
        a, c = 1664525, 1013904223
        while len(x) < n:
            x = np.concatenate([x, x * np.uint32(a) + np.uint32(c)])
            a, c = a * a % 2**32, (a * c + c) % 2**32
        if n:
            self.x = int(x[n - 1])
        return torch.from_numpy((x[:n] >> 24) / 128 - 1).reshape(shape)


def fill(module):
    """fill of foreign.py, with names and shapes in one string."""
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
        elif kind == "weight":
            draws = 1 + draws / 4
        else:
            draws = draws / 2
        state[name] = draws.float().double()
        tensors.append(" ".join([name, *map(str, t.shape)]))
    module.load_state_dict(state)
    return tensors


def net(module):
    module = module.double()
    tensors = fill(module)
    module.eval()
    with torch.no_grad():
        logits = module(Generator(2).tensor((2, 3, HEIGHT, WIDTH)))
    return {"tensors": tensors, "logits": logits.flatten().tolist()}


def slim_resnet(block, layers, by):
    """A ResNet of torchvision with fewer channels."""

    class Slim(resnet.ResNet):
        def _make_layer(self, block, planes, *args, **kwargs):
            if planes == 64:  # the first stage
                self.inplanes = 64 // by
            return super()._make_layer(block, planes // by, *args, **kwargs)

    module = Slim(block, layers, num_classes=CLASSES)
    module.conv1, module.bn1 = nn.Conv2d(3, 64 // by, 7, 2, 3, bias=False), nn.BatchNorm2d(64 // by)
    module.fc = nn.Linear(512 // by * block.expansion, CLASSES)
    return module


def slim_vgg(config, batch_norm, by):
    layers = [v if v == "M" else v // by for v in vgg.cfgs[config]]
    module = vgg.VGG(vgg.make_layers(layers, batch_norm), num_classes=CLASSES)
    module.classifier[0] = nn.Linear(512 // by * 49, 4096 // by)
    module.classifier[3] = nn.Linear(4096 // by, 4096 // by)
    module.classifier[6] = nn.Linear(4096 // by, CLASSES)
    return module


NETS = {
    "ResNet-18": lambda: resnet.resnet18(num_classes=CLASSES),
    "ResNet-34": lambda: resnet.resnet34(num_classes=CLASSES),
    "ResNet-50": lambda: resnet.resnet50(num_classes=CLASSES),
    "ResNet-101": lambda: resnet.resnet101(num_classes=CLASSES),
    "ResNet-50 slim": lambda: slim_resnet(resnet.Bottleneck, [3, 4, 6, 3], 8),
    "SqueezeNet": lambda: squeezenet.squeezenet1_1(num_classes=CLASSES),
    "MobileNetV2": lambda: mobilenetv2.mobilenet_v2(num_classes=CLASSES),
    "MobileNetV2 slim": lambda: mobilenetv2.mobilenet_v2(num_classes=CLASSES, width_mult=1 / 8),
    "VGG-16": lambda: vgg.vgg16(num_classes=CLASSES),
    "VGG-11 slim": lambda: slim_vgg("A", False, 8),
    "VGG-13 slim": lambda: slim_vgg("B", False, 8),
    "VGG-19 normed slim": lambda: slim_vgg("E", True, 8),
}


def trained():
    torch.manual_seed(1)
    module = slim_resnet(resnet.BasicBlock, [2, 2, 2, 2], 32)
    solver = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(3):
        images, labels = torch.randn(4, 3, 32, 32), torch.randint(CLASSES, (4,))
        solver.zero_grad()
        nn.functional.cross_entropy(module(images), labels).backward()
        solver.step()
    module.eval()
    images = torch.randn(2, 3, 24, 20)
    with torch.no_grad():
        return {**module.state_dict(), "images": images, "logits": module(images)}


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "imagenet.json"), "w") as f:
        json.dump({
            "provenance": {
                "command": "OMP_NUM_THREADS=1 python3 models/checkpoint/testdata/imagenet.py",
                "torch": torch.__version__, "torchvision": torchvision.__version__,
            },
            "height": HEIGHT, "width": WIDTH, "nets": {name: net(make()) for name, make in NETS.items()},
        }, f, separators=(",", ":"))
        f.write("\n")
    pytorch.write(os.path.join(here, "imagenet-slim.safetensors"), trained())
