# SPDX-License-Identifier: Apache-2.0
"""PyTorch: unconstrained optimizers, and the training step of a CNN."""
import peer

try:
    import torch
except ImportError:
    peer.missing("torch")


def sgd(request):
    """SGD with momentum on weights of the given shapes."""
    parameters = [torch.randn(s).requires_grad_() for s in request["shapes"]]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    return peer.Optimizer(parameters, optimizer, request["clear"])


class Net:
    """Blocks of 3x3 convolution, ReLU and 2x2 max pooling, and a linear layer, under Adam.

    Weights and images come with the request; linear weights are (in, out) there.
    """

    def __init__(self, request):
        *blocks, linear = zip(request["weights"][::2], request["weights"][1::2])
        layers, channels = [], request["input"][1]
        for width, (weight, bias) in zip(request["widths"], blocks):
            conv = torch.nn.Conv2d(channels, width, 3, padding=1)
            conv.weight.data = torch.tensor(weight).reshape(width, channels, 3, 3)
            conv.bias.data = torch.tensor(bias)
            layers += [conv, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            channels = width
        classes = len(linear[1])
        fc = torch.nn.Linear(len(linear[0]) // classes, classes)
        fc.weight.data = torch.tensor(linear[0]).reshape(-1, classes).T.contiguous()
        fc.bias.data = torch.tensor(linear[1])
        self.net = torch.nn.Sequential(*layers, torch.nn.Flatten(), fc)
        self.images = torch.tensor(request["images"]).reshape(request["input"])
        self.labels = torch.tensor(request["labels"])
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def prepare(self):
        pass

    def backward(self):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        return loss

    def step(self):
        self.backward()
        self.optimizer.step()

    def gradients(self):
        loss = self.backward().item()
        *blocks, weight, bias = [p.grad for p in self.net.parameters()]
        return loss, [g.flatten().tolist() for g in (*blocks, weight.T, bias)]


class Block(torch.nn.Module):
    """Two convolutions and a shortcut without weights: option A of He, Zhang, Ren and Sun (2016)."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, stride), torch.nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 1), torch.nn.BatchNorm2d(width)
        self.stride, self.more = stride, width - channels

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = torch.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.more))
        return torch.relu(y + x)


def conv(channels, width, stride):
    return torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False)


class ResNet20(Net):
    """models.ResNet of depth 20 under SGD with momentum and weight decay, on random images."""

    def __init__(self, request):
        batch, channels, *_ = request["input"]
        layers, channels = [conv(channels, 16, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()], 16
        for width in (16, 32, 64):
            for block in range(3):
                layers.append(Block(channels, width, 2 if width > 16 and block == 0 else 1))
                channels = width
        pool = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        self.net = torch.nn.Sequential(*layers, *pool, torch.nn.Linear(64, request["classes"]))
        self.images = torch.randn(request["input"])
        self.labels = torch.randint(request["classes"], (batch,))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)


torch.set_num_threads(peer.threads)
torch.manual_seed(1)
peer.serve("torch " + torch.__version__, {"sgd": sgd, "net": Net, "resnet20": ResNet20})
