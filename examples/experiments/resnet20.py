# SPDX-License-Identifier: Apache-2.0
"""Times the training of models.ResNet(64, 20, ...) in PyTorch, on one thread.

    python3 examples/experiments/resnet20.py

The same layers, batch, loss, momentum and weight decay as the experiment cifar, on
random images, without augmentation. Prints the fastest and the median step of 30 as images a second.
"""
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

torch.set_num_threads(1)
torch.manual_seed(1)


def conv(c, n, stride):
    return nn.Conv2d(c, n, 3, stride, 1, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A)."""

    def __init__(self, c, n, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(c, n, stride), nn.BatchNorm2d(n)
        self.conv2, self.bn2 = conv(n, n, 1), nn.BatchNorm2d(n)
        self.stride, self.more = stride, n - c

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))
        return functional.relu(y + x)


layers = [conv(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU()]
channels = 16
for width in (16, 32, 64):
    for i in range(3):
        layers.append(Block(channels, width, 2 if width > 16 and i == 0 else 1))
        channels = width
net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
solver = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
images, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
times = []
for _ in range(33):
    start = time.perf_counter()
    solver.zero_grad()
    functional.cross_entropy(net(images), labels).backward()
    solver.step()
    times.append(time.perf_counter() - start)
times = times[3:]
print("torch %s, 1 thread: %.0f images/s at best, %.0f in the median" % (torch.__version__, 64 / min(times), 64 / statistics.median(times)))
