# SPDX-License-Identifier: Apache-2.0
"""The PyTorch side of the tests of orthogonal and transposed convolutions of package checkpoint.

    orthogonal.py make FOLDER   draws the factors of a small net, and writes orthogonal.safetensors there: the factors, the kernels
                                that they make, images and logits
    orthogonal.py check FILE... loads each FILE, a released net, into the net and prints its logits for the images of
                                orthogonal.safetensors as JSON

Where there is no PyTorch it exits with 77. The file in this folder was made by "make" with PyTorch 1.13.0 and Python 3.11. The
kernels are made here by block convolutions with the projectors written out.
"""

import json
import os
import sys

from pytorch import read, write

import torch
from torch import nn

torch.set_default_dtype(torch.float64)


class Net(nn.Module):
    """Images of 1 x 8 x 8, 3 classes."""

    def __init__(self):
        super().__init__()
        circular = {"padding_mode": "circular"}
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, **circular)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, **circular)
        self.conv3 = nn.Conv2d(6, 6, 3, padding=1, groups=2, **circular)
        self.up1 = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)
        self.fc = nn.Linear(4 * 256, 3)

    def forward(self, x):
        def maxmin(x):
            a, b = x.chunk(2, dim=1)
            return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)

        x = maxmin(self.conv1(x))
        x = maxmin(self.conv2(x))
        x = maxmin(self.conv3(x))
        x = torch.relu(self.up1(x))
        return self.fc(torch.relu(self.up2(x)).flatten(1))


def block(a, b):
    h, w = a.shape[2] + b.shape[2] - 1, a.shape[3] + b.shape[3] - 1
    k = torch.zeros(a.shape[0], b.shape[1], h, w)
    for i in range(a.shape[2]):
        for j in range(a.shape[3]):
            k[:, :, i : i + b.shape[2], j : j + b.shape[3]] += torch.einsum("oc,cihw->oihw", a[:, :, i, j], b)
    return k


def orthonormal(n, p):
    q = torch.linalg.qr(torch.randn(max(n, p), min(n, p)))[0]
    return q if n >= p else q.T.contiguous()


def orthogonal(filters, channels, size, stride, groups=1):
    """Factors of an orthogonal kernel, and the kernel."""
    d, c = filters // groups, channels // groups
    swapped = stride == 1 and d > c
    m, u, kernels = [], [], []
    for _ in range(groups):
        m.append(orthonormal(c, d) if swapped else orthonormal(d, c * stride**2))
        u.append([orthonormal(max(c, d) if stride == 1 else c, max(c, d) // 2 if stride == 1 else c // 2) for _ in range(2 * (size - stride))])
        k = m[-1].T.reshape(d, c, 1, 1) if swapped else m[-1].reshape(d, stride, stride, c).permute(0, 3, 1, 2)
        for i, basis in enumerate(u[-1]):
            p = basis @ basis.T
            taps = torch.stack([p, torch.eye(len(p)) - p], dim=2).unsqueeze(3 - i % 2)
            k = block(taps, k) if swapped else block(k, taps)
        kernels.append(k)
    return torch.stack(m).unsqueeze(1), torch.stack([torch.stack(b) for b in u]), torch.cat(kernels)


def make(folder):
    torch.manual_seed(2)
    net, tensors = Net(), {}
    with torch.no_grad():
        for layer, shape in {"conv1": (4, 1, 3, 1), "conv2": (6, 4, 3, 2), "conv3": (6, 6, 3, 1, 2), "up1": (6, 4, 4, 2)}.items():
            m, u, kernel = orthogonal(*shape)
            tensors["factors/" + layer + ".weight"], tensors["factors/" + layer + ".projectors"] = m, u
            getattr(net, layer).weight.copy_(kernel)
        images = torch.randn(3, 1, 8, 8).float().double()
        logits = net(images)
    for name, t in net.state_dict().items():
        tensors["plain/" + name] = t
        if "factors/" + name not in tensors:
            tensors["factors/" + name] = t
    write(folder + "/orthogonal.safetensors", {**tensors, "images": images, "logits": logits})


def check(*paths):
    images = read(os.path.join(os.path.dirname(__file__), "orthogonal.safetensors"))["images"]
    out = []
    for path in paths:
        net = Net()
        tensors = read(path)
        if "up2.bias" in tensors:
            net.up2 = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1, groups=2)
        net.load_state_dict(tensors, strict=True)
        out.append(net(images).flatten().tolist())
    print(json.dumps(out))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
