# SPDX-License-Identifier: Apache-2.0
"""orthogonium: the training step of the small net of orthogonal convolutions, with its default orthogonalisation."""
import peer

try:
    import torch
except ImportError:
    peer.missing("torch")
try:
    from orthogonium.layers import AdaptiveOrthoConv2d
except ImportError:
    peer.missing("orthogonium")

if torch.__version__.startswith("1."):  # it has no dtype, which orthogonium sets to that of its argument
    norm = torch.norm
    torch.norm = lambda *args, dtype=None, **kept: norm(*args, **kept)


class Training:
    """Blocks of orthogonal 3x3 convolution with zero padding, ReLU and 2x2 max pooling, and a linear layer, on random images."""

    def __init__(self, request):
        layers, channels, side = [], request["input"][1], request["input"][2]
        for width in request["widths"]:
            layers += [AdaptiveOrthoConv2d(channels, width, 3, padding=1, padding_mode="zeros"), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            channels, side = width, side // 2
        self.net = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(channels * side * side, request["classes"]))
        self.images = torch.randn(request["input"])
        self.labels = torch.randint(request["classes"], (len(self.images),))
        if request["adam"]:
            self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        else:
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9)

    def prepare(self):
        pass

    def step(self):
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.net(self.images), self.labels).backward()
        self.optimizer.step()


torch.set_num_threads(peer.threads)
torch.manual_seed(1)
peer.serve("orthogonium", {"training": Training})
