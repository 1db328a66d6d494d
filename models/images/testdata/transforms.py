# SPDX-License-Identifier: Apache-2.0
"""Writes pictures/*.png and transforms.json, what torchvision 0.14 with Pillow 9.4 makes of them.

    cd models/images/testdata; python3 transforms.py

Scaling is that of Pillow pictures; changes of colour are those of tensors of float32.
"""
import json

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

rng = np.random.default_rng(17)


def scene(height, width, channels):
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 100 * np.sin(x / (3 + c) + y / (5 - c)) + rng.normal(0, 30, (height, width)) for c in range(channels)]
    return np.clip(np.stack(planes, -1).round(), 0, 255).astype(np.uint8)


pictures = {"wide": (23, 37, 3), "tall": (61, 18, 3), "grey": (30, 31, 1)}
out = {"middle": [], "crops": [], "colours": [], "fallback": []}


def numbers(image):
    a = np.asarray(image)
    return a.reshape(a.shape[0], a.shape[1], -1).transpose(2, 0, 1).ravel().tolist()


for name, shape in pictures.items():
    image = Image.fromarray(scene(*shape).squeeze())
    image.save(f"pictures/{name}.png")
    mode = "L" if name == "grey" else "RGB"
    image = image.convert(mode)
    for resize, size in [(8, 7), (16, 11), (40, 33)]:
        made = transforms.CenterCrop(size)(transforms.Resize(resize)(image))
        out["middle"].append({"picture": name, "resize": resize, "size": size, "pixels": numbers(made)})
    for left, top, width, height, size in [(0, 0, 18, 23, 9), (3, 5, 7, 11, 12), (16, 20, 1, 2, 4)]:
        made = F.resized_crop(image, top, left, height, width, [size, size])
        out["crops"].append({"picture": name, "box": [left, top, left + width, top + height], "size": size, "pixels": numbers(made)})

for channels in 3, 1:
    image = torch.from_numpy(rng.random((channels, 5, 6))).float()
    image[:, 0, 0] = 0.5
    image[:, 0, 1] = 0
    image[:, 0, 2] = 1
    if channels == 3:
        image[0, 1, 1] = image[1, 1, 1] = 0.9  # two largest channels
    for name, change in {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast, "saturation": F.adjust_saturation, "hue": F.adjust_hue}.items():
        for by in (-0.4, 0.1, 0.5) if name == "hue" else (0.0, 0.6, 1.7):
            made = change(image, by)
            out["colours"].append({"change": name, "by": by, "channels": channels, "before": image.double().ravel().tolist(), "after": made.double().ravel().tolist()})

for width, height in (100, 3), (3, 100), (1, 1000), (41, 40):
    # A scale that never fits leaves the crop in the middle.
    top, left, h, w = transforms.RandomResizedCrop.get_params(torch.zeros(3, height, width), [4.0, 4.0], [3 / 4, 4 / 3])
    out["fallback"].append({"size": [width, height], "box": [left, top, left + w, top + h]})

with open("transforms.json", "w") as f:
    json.dump(out, f)
    f.write("\n")
