# SPDX-License-Identifier: Apache-2.0
"""The PyTorch side of the tests of package checkpoint.

    pytorch.py make FOLDER       trains a small net for three steps and writes there
                                 pytorch.safetensors       its state_dict
                                 pytorch-half.safetensors  the same in half precision
                                 pytorch-run.safetensors   images, and its logits in evaluation
    pytorch.py check RUN FILE... loads each FILE, or the model in it if it is a checkpoint, into
                                 the net, without batch normalisations if it has none, and prints its logits for the images of RUN as JSON

Where there is no PyTorch it exits with 77. The files in this folder were made by "make" with PyTorch 1.13.0 and Python 3.11. Files
are read and written by the page of the format, and by the package safetensors too if it is there.
"""

import json
import struct
import sys

try:
    import torch
    from torch import nn
except ImportError as e:
    print(e, file=sys.stderr)
    sys.exit(77)

TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
}


def write(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, t in tensors.items():
        raw = bytes(t.detach().contiguous().reshape(-1).numpy().tobytes())
        kind = next(k for k, v in TYPES.items() if v == t.dtype)
        header[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    with open(path, "rb") as f:
        raw = f.read()
    n = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8 : 8 + n]), bytearray(raw[8 + n :])
    header.pop("__metadata__", None)
    tensors = {}
    for name, i in header.items():
        begin, end = i["data_offsets"]
        tensors[name] = torch.frombuffer(data[begin:end], dtype=TYPES[i["dtype"]]).reshape(i["shape"])
    try:
        from safetensors.torch import load_file
    except ImportError:
        return tensors
    theirs = load_file(path)
    assert theirs.keys() == tensors.keys()
    for name, t in theirs.items():
        assert t.dtype == tensors[name].dtype and torch.equal(t, tensors[name]), name
    return tensors


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.ModuleList([Block()])
        self.gn = nn.GroupNorm(2, 6)
        self.mix = nn.Conv2d(6, 1, 1)
        self.fc1 = nn.Linear(4, 5)
        self.dropout = nn.Dropout(0.4)
        self.bn2 = nn.BatchNorm1d(5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        x = self.mix(self.gn(self.layer1[0](x)))
        x = self.dropout(self.fc1(x.flatten(1)))
        return self.fc(self.bn2(x))

    def release(self):
        """Makes it the net without batch normalisations that models.Release folds it into."""
        block = self.layer1[0]
        block.conv1 = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        block.bn1 = self.bn1 = self.bn2 = nn.Identity()


def make(folder):
    torch.manual_seed(1)
    net = Net()
    solver = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(3):
        images, labels = torch.randn(4, 2, 8, 8), torch.randint(3, (4,))
        solver.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        solver.step()
    net.eval()
    images = torch.randn(4, 2, 8, 8)
    write(folder + "/pytorch.safetensors", net.state_dict())
    write(folder + "/pytorch-run.safetensors", {"images": images, "logits": net(images)})
    write(folder + "/pytorch-half.safetensors", net.half().state_dict())


def logits(path, images):
    tensors = read(path)
    if any(k.startswith("model/") for k in tensors):
        tensors = {k[len("model/") :]: t for k, t in tensors.items() if k.startswith("model/")}
    dtype = tensors["conv1.weight"].dtype
    net = Net()
    if "bn1.weight" not in tensors:
        net.release()
    net = net.to(dtype).eval()
    net.load_state_dict(tensors, strict=True)
    for name, t in net.state_dict().items():
        assert torch.equal(t, tensors[name].to(t.dtype)), name
    return net(images.to(dtype)).flatten().tolist()


def check(run, *paths):
    images = read(run)["images"]
    print(json.dumps([logits(p, images) for p in paths]))


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
