# SPDX-License-Identifier: Apache-2.0
"""Writes formats/*, pictures in all formats, and formats.json, their pixels as Pillow 9.4 reads them: red, green and blue, or grey.

    cd models/images/testdata; python3 formats.py
"""
import io
import json
import os

import numpy as np
from PIL import Image, ImageOps

y, x = np.mgrid[0:7, 0:10]
scene = np.stack([25 * x, 36 * y, 128 + 12 * (x - y)], -1).clip(0, 255).astype(np.uint8)
rgb = Image.fromarray(scene)
grey = rgb.convert("L")
cmyk = Image.merge("CMYK", [Image.fromarray(c.astype(np.uint8)) for c in (25 * x, 30 * y, 100 + 5 * x + 0 * y, 8 * (x + y))])
alpha = Image.fromarray(np.dstack([scene, np.where(x > 4, 255, 30 * x)]).astype(np.uint8))
deep = (scene.astype(np.uint16) << 8) + 77
turned = Image.Exif()
turned[0x0112] = 6


def jpeg(image, **options):
    b = io.BytesIO()
    image.save(b, "JPEG", quality=98, **options)
    return b.getvalue()


def saved(image, form, **options):
    b = io.BytesIO()
    image.save(b, form, **options)
    return b.getvalue()


def adobe(file):
    """Returns where the Adobe segment begins and ends."""
    at = file.index(b"\xff\xeeDOREP"[:2] + b"\x00\x0eAdobe")
    return at, at + 16


inverted = jpeg(cmyk)
at, end = adobe(inverted)
gif = io.BytesIO()
rgb.crop((0, 0, 4, 3)).quantize(8).save(gif, "GIF")
gif = bytearray(gif.getvalue())
gif[6], gif[8] = 10, 7  # a screen of 10 x 7
place = gif.index(b"\x2c\x00\x00\x00\x00\x04\x00\x03\x00")
gif[place + 1], gif[place + 3] = 5, 2  # where the frame lies

files = {
    "grey.jpg": jpeg(grey),
    "colour.jpg": jpeg(rgb, subsampling=0),
    "progressive.jpg": jpeg(rgb, subsampling=0, progressive=True),
    "turned.jpg": jpeg(rgb, subsampling=0, exif=turned),
    "cmyk.jpg": inverted,
    "cmyk-plain.jpg": inverted[:at] + inverted[end:],  # without the segment of Adobe
    "ycck.jpg": inverted[: end - 1] + b"\x02" + inverted[end:],
    "grey.png": saved(grey, "PNG"),
    "black.png": saved(rgb.convert("1"), "PNG"),
    "palette.png": saved(rgb.quantize(8), "PNG"),
    "alpha.png": saved(alpha, "PNG"),
    "grey16.png": saved(Image.fromarray(deep[..., 1]), "PNG"),
    "palette.gif": saved(rgb.quantize(16), "GIF"),
    "frame.gif": bytes(gif),
    "grey-lossy.webp": saved(grey.convert("RGB"), "WEBP", quality=100),
    "lossy.webp": saved(rgb, "WEBP", quality=100),
    "lossless.webp": saved(rgb, "WEBP", lossless=True),
    "alpha.webp": saved(alpha, "WEBP", lossless=True, exact=True),
    "turned.webp": saved(rgb, "WEBP", lossless=True, exif=turned),
    "grey.bmp": saved(grey, "BMP"),
    "colour.bmp": saved(rgb, "BMP"),
    "palette.bmp": saved(rgb.quantize(8), "BMP"),
    "alpha.bmp": saved(alpha, "BMP"),
    "plain.tif": saved(rgb, "TIFF"),
    "lzw.tif": saved(rgb, "TIFF", compression="tiff_lzw"),
    "deflate.tif": saved(rgb, "TIFF", compression="tiff_adobe_deflate"),
    "packbits.tif": saved(grey, "TIFF", compression="packbits"),
    "black.tif": saved(rgb.convert("1"), "TIFF", compression="group4"),
    "palette.tif": saved(rgb.quantize(8), "TIFF"),
    "grey16.tif": saved(Image.fromarray(deep[..., 1]), "TIFF"),
    "turned.tif": saved(rgb, "TIFF", tiffinfo={0x0112: 6}),
    "unknown.tif": saved(cmyk, "TIFF"),
}
pixels = {}
for name, b in files.items():
    with open(os.path.join("formats", name), "wb") as f:
        f.write(b)
    image = Image.open(io.BytesIO(b))
    if image.format != "TIFF":  # which is turned when it is loaded
        image = ImageOps.exif_transpose(image)
    if name.startswith("grey16"):  # Pillow would clip to 255 what does not fit
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    a = np.asarray(image.convert("RGB"))
    pixels[name] = {"width": a.shape[1], "height": a.shape[0], "pixels": a.transpose(2, 0, 1).ravel().tolist()}
with open("formats.json", "w") as f:
    json.dump(pixels, f)
    f.write("\n")
