"""Views of a picture, from which more is learned than from the picture alone: random parts of it, as torchvision's
RandomResizedCrop and ColorJitter give them. A view is what the picture's pixels and its number make it, on any day."""

from __future__ import annotations

import math
import random
import zlib

from PIL import Image, ImageEnhance, ImageOps

#: Of the picture's area, of its aspect ratio, and of its brightness, contrast and colours.
LEAST_AREA, ASPECT, LIGHT = 0.25, 4 / 3, 0.3
ATTEMPTS = 10


def view(image: Image.Image, number: int) -> Image.Image:
    """View 0 is the picture itself. Any other is a part of it, a quarter of its area or more, in light and colours that
    are a little changed; one in two is mirrored. `image`: in RGB."""
    if not number:
        return image
    draw = random.Random(f"{number} {zlib.crc32(image.tobytes())}")
    image = image.crop(_part(draw, *image.size))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(draw.uniform(1 - LIGHT, 1 + LIGHT))
    return ImageOps.mirror(image) if draw.random() < 0.5 else image


def _part(draw: random.Random, width: int, height: int) -> tuple[int, int, int, int]:
    """A box in pixels: left, upper, right, lower."""
    for _ in range(ATTEMPTS):
        area = draw.uniform(LEAST_AREA, 1) * width * height
        # Relative to the picture's own: all of it is squeezed to a square.
        aspect = width / height * math.exp(draw.uniform(-math.log(ASPECT), math.log(ASPECT)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, upper = draw.randint(0, width - w), draw.randint(0, height - h)
            return left, upper, left + w, upper + h
    return 0, 0, width, height
