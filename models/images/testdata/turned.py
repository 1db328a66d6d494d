# SPDX-License-Identifier: Apache-2.0
"""Writes turned.webp, a lossless picture with an Exif orientation of 6, and upright.png, as Pillow 9.4 turns it."""
from PIL import Image, ImageOps

stored = Image.new("RGB", (12, 8), (200, 40, 40))
stored.paste((30, 180, 60), (0, 0, 4, 3))
stored.paste((20, 60, 220), (9, 5, 12, 8))
exif = Image.Exif()
exif[0x0112] = 6
stored.save("turned.webp", lossless=True, exif=exif)
ImageOps.exif_transpose(Image.open("turned.webp")).convert("RGB").save("upright.png")
