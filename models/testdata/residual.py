# SPDX-License-Identifier: Apache-2.0
"""Residual nets in PyTorch for models/residual_test.go.

    OMP_NUM_THREADS=1 python3 models/testdata/residual.py

writes residual.json beside this file: for each net the loss of a batch in training, for
each parameter the scalar product of its gradient with random numbers, the running
statistics after that run, and the logits in evaluation. All is computed in float64. Weights,
images and random numbers come from a linear congruential generator that the test repeats.
"""

import json
import math
import os

import torch
import torch.nn.functional as F
from torch import nn

torch.set_default_dtype(torch.float64)
BATCH, CLASSES, SIDE = 4, 10, 8


class Generator:
    """x = 1664525 x + 1013904223 mod 2^32 (Knuth and Lewis); a draw is the top 8 bits as a
    number in [-1, 1)."""

    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x = (1664525 * self.x + 1013904223) % 2**32
        return (self.x >> 24) / 128 - 1

    def tensor(self, *shape):
        n = torch.Size(shape).numel()
        return torch.tensor([self.next() for _ in range(n)]).reshape(shape)


def conv(channels, out, size, stride):
    return nn.Conv2d(channels, out, size, stride, size // 2, bias=False)


class Zeros(nn.Module):
    """The shortcut of option A: channels of zeros before and after those of the input."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.before, self.after, self.stride = before, after, stride

    def forward(self, x):
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.before, self.after))


def shortcut(channels, out, stride, kind):
    """kind is "B", "A" (zeros after the channels) or "A, around" (out // 4 before and after)."""
    if kind == "B":
        return conv(channels, out, 1, stride)
    return Zeros(*((out // 4, out // 4) if kind == "A, around" else (0, out - channels)), stride)


class Block(nn.Module):
    """He et al. 2016, Deep residual learning, figure 2."""

    def __init__(self, channels, out, stride, kind):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, out, 3, stride), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = conv(out, out, 3, 1), nn.BatchNorm2d(out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = shortcut(channels, out, stride, kind)
            if kind == "B":
                self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class PreBlock(nn.Module):
    """He et al. 2016, Identity mappings, figure 1b; Zagoruyko and Komodakis 2016, figure 1."""

    def __init__(self, channels, out, stride, kind):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, out, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), conv(out, out, 3, 1)
        self.shortcut = None
        if stride != 1 or channels != out:
            self.shortcut = shortcut(channels, out, stride, kind)
            if kind == "B":
                self.shortcut = nn.Sequential(self.shortcut)

    def forward(self, x):
        a = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(a))))
        return y + (x if self.shortcut is None else self.shortcut(a))


class Net(nn.Module):
    def __init__(self, blocks, widths, block, kind):
        super().__init__()
        self.pre = block is PreBlock
        self.conv1 = conv(3, 16, 3, 1)
        self.bn1 = nn.BatchNorm2d(widths[-1] if self.pre else 16)
        channels = 16
        for i, out in enumerate(widths):
            layers = []
            for j in range(blocks):
                layers.append(block(channels, out, 2 if i > 0 and j == 0 else 1, kind))
                channels = out
            setattr(self, f"layer{i + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x):
        x = self.conv1(x)
        if not self.pre:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.pre:
            x = F.relu(self.bn1(x))
        return self.fc(x.mean((2, 3)))


def record(net):
    g = Generator(1)
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, p in parameters.items():
            if p.dim() == 4:
                p.copy_(g.tensor(*p.shape) * math.sqrt(6 / (p.shape[1] * p.shape[2] * p.shape[3])))
            elif p.dim() == 2:  # drawn as (in, out), which is how the test has it
                p.copy_(g.tensor(*p.shape[::-1]).T * math.sqrt(3 / p.shape[1]))
            else:
                p.copy_(g.tensor(*p.shape) / 4 + (1 if name.endswith("weight") else 0))
    images, labels = g.tensor(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) * 3 % CLASSES
    loss = F.cross_entropy(net(images), labels)
    loss.backward()
    gradients = []
    for name, p in parameters.items():
        d = p.grad.T if p.dim() == 2 else p.grad
        gradients.append({"name": name, "norm": d.norm().item(), "product": (d * g.tensor(*d.shape)).sum().item()})
    running = {k[:-len(".running_mean")]: {"mean": v.tolist(), "variance": net.state_dict()[k[:-4] + "var"].tolist()}
               for k, v in net.state_dict().items() if k.endswith("running_mean")}
    net.eval()
    with torch.no_grad():
        logits = net(images).flatten().tolist()
    return {"parameters": sum(p.numel() for p in parameters.values()), "loss": loss.item(),
            "gradients": gradients, "running": running, "logits": logits}


nets = {
    "ResNet-20, option A": record(Net(3, [16, 32, 64], Block, "A")),
    "ResNet-14, option A, zeros around": record(Net(2, [16, 32, 64], Block, "A, around")),
    "ResNet-20, option B": record(Net(3, [16, 32, 64], Block, "B")),
    "ResNet-14, pre-activation, option A": record(Net(2, [16, 32, 64], PreBlock, "A")),
    "WRN-10-2": record(Net(1, [32, 64, 128], PreBlock, "B")),
}
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "residual.json"), "w") as f:
    json.dump({
        "provenance": {"command": "OMP_NUM_THREADS=1 python3 models/testdata/residual.py", "torch": torch.__version__},
        "nets": nets,
    }, f)
    f.write("\n")
