# SPDX-License-Identifier: Apache-2.0
"""PyTorch: unconstrained optimizers, the training steps of some nets, and prediction."""
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


def conv(channels, width, stride, size=3):
    return torch.nn.Conv2d(channels, width, size, stride, size // 2, bias=False)


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


class WideBlock(torch.nn.Module):
    """Pre-activation, and a convolution 1x1 where the shape changes: Zagoruyko and Komodakis (2016)."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.bn1, self.conv1 = torch.nn.BatchNorm2d(channels), conv(channels, width, stride)
        self.bn2, self.conv2 = torch.nn.BatchNorm2d(width), conv(width, width, 1)
        self.reshapes = channels != width or stride > 1
        if self.reshapes:
            self.shortcut = torch.nn.Sequential(conv(channels, width, stride, 1))

    def forward(self, x):
        y = torch.relu(self.bn1(x))
        if self.reshapes:
            x = self.shortcut(y)
        y = self.conv1(y)
        return self.conv2(torch.relu(self.bn2(y))) + x


class Residual(torch.nn.Module):
    """models.ResNet and models.WideResNet, with their names of layers: n blocks in each of three stages."""

    def __init__(self, block, n, widths, colours, classes):
        super().__init__()
        self.early = block is Block  # batch norm and ReLU after the first convolution, not the last
        self.conv1, self.bn1 = conv(colours, 16, 1), torch.nn.BatchNorm2d(16 if self.early else widths[-1])
        stages, channels = [], 16
        for stage, width in enumerate(widths):
            blocks = []
            for i in range(n):
                blocks.append(block(channels, width, 2 if stage > 0 and i == 0 else 1))
                channels = width
            stages.append(torch.nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        self.fc = torch.nn.Linear(channels, classes)

    def forward(self, x):
        x = self.conv1(x)
        if self.early:
            x = torch.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if not self.early:
            x = torch.relu(self.bn1(x))
        return self.fc(self.pool(x))


def resnet20(request):
    return Residual(Block, 3, (16, 32, 64), request["input"][1], request["classes"])


def wrn16_4(request):
    return Residual(WideBlock, 2, (64, 128, 256), request["input"][1], request["classes"])


class BasicBlock(torch.nn.Module):
    """Two convolutions and a shortcut of 1x1 where the shape changes, with torchvision's names."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, width, stride), torch.nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 1), torch.nn.BatchNorm2d(width)
        self.downsample = None
        if channels != width:
            self.downsample = torch.nn.Sequential(conv(channels, width, stride, 1), torch.nn.BatchNorm2d(width))

    def forward(self, x):
        y = torch.nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return torch.nn.functional.relu(y, inplace=True)


class ResNet18(torch.nn.Module):
    """models.ImageNetResNet of depth 18."""

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 64, 2, 7), torch.nn.BatchNorm2d(64)
        for stage, (channels, width) in enumerate([(64, 64), (64, 128), (128, 256), (256, 512)], 1):
            blocks = BasicBlock(channels, width, 1 if stage == 1 else 2), BasicBlock(width, width, 1)
            setattr(self, f"layer{stage}", torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(512, classes)

    def forward(self, x):
        x = torch.nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def activated(channels, width, size, stride=1, groups=1):
    layer = torch.nn.Conv2d(channels, width, size, stride, size // 2, groups=groups, bias=False)
    return torch.nn.Sequential(layer, torch.nn.BatchNorm2d(width), torch.nn.ReLU6(inplace=True))


class InvertedResidual(torch.nn.Module):
    """Of MobileNetV2, with torchvision's names."""

    def __init__(self, channels, width, stride, expansion):
        super().__init__()
        inner = channels * expansion
        layers = [activated(channels, inner, 1)] if expansion > 1 else []
        layers += [activated(inner, inner, 3, stride, inner), conv(inner, width, 1, 1), torch.nn.BatchNorm2d(width)]
        self.conv, self.adds = torch.nn.Sequential(*layers), stride == 1 and channels == width

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        layers, channels = [activated(3, 32, 3, 2)], 32
        stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        for expansion, width, blocks, stride in stages:
            for i in range(blocks):
                layers.append(InvertedResidual(channels, width, stride if i == 0 else 1, expansion))
                channels = width
        self.features = torch.nn.Sequential(*layers, activated(channels, 1280, 1))
        self.classifier = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def resnet18(request):
    return ResNet18(request["classes"])


def mobilenetv2(request):
    return MobileNetV2(request["classes"])


class Training(Net):
    """The training step of a net under SGD with momentum and weight decay, on random images."""

    def __init__(self, net, request):
        self.net = net
        self.images = torch.randn(request["input"])
        self.labels = torch.randint(request["classes"], (len(self.images),))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)


class Prediction:
    """The logits of random images."""

    def __init__(self, net, request):
        self.net = net.eval()
        self.images = torch.randn(request["input"])

    def prepare(self):
        pass

    def step(self):
        with torch.no_grad():
            return self.net(self.images)

    def logits(self, request):
        """Of the images of a request and all the weights, by name; linear ones are (in, out) there."""
        parameters, weights = dict(self.net.named_parameters()), request["weights"]
        if parameters.keys() != weights.keys():
            raise ValueError(f"want {sorted(parameters)}, got {sorted(weights)}")
        for name, p in parameters.items():
            w = torch.tensor(weights[name], dtype=torch.float32)
            p.data = w.reshape(p.T.shape).T if name in ("fc.weight", "classifier.1.weight") else w.reshape(p.shape)
        self.images = torch.tensor(request["images"]).reshape(self.images.shape)
        return self.step().flatten().tolist()


class Transposed:
    """The value of a transposed convolution and the gradients in images and kernel."""

    def __init__(self, request):
        self.images = torch.randn(request["input"]).requires_grad_()
        self.conv = torch.nn.ConvTranspose2d(
            request["input"][1], request["filters"], request["size"], request["stride"], request["pad"], request["output"], bias=False
        )
        self.gradient = torch.randn(self.conv(self.images).shape)

    def prepare(self):
        self.images.grad = self.conv.weight.grad = None

    def step(self):
        self.conv(self.images).backward(self.gradient)


def made(contestant, net):
    return lambda request: contestant(net(request), request)


torch.set_num_threads(peer.threads)
torch.manual_seed(1)
peer.serve(
    "torch " + torch.__version__,
    {
        "sgd": sgd,
        "net": Net,
        "transposed": Transposed,
        "resnet20": made(Training, resnet20),
        "resnet20 prediction": made(Prediction, resnet20),
        "resnet18": made(Training, resnet18),
        "resnet18 prediction": made(Prediction, resnet18),
        "mobilenetv2": made(Training, mobilenetv2),
        "mobilenetv2 prediction": made(Prediction, mobilenetv2),
        "wrn16-4": made(Training, wrn16_4),
        "wrn16-4 prediction": made(Prediction, wrn16_4),
    },
)
