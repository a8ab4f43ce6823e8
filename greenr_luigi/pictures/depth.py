"""Pictures of 16 bits a value, of which cameras and scanners often fill fewer: 12 bits at the lower end look black."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageChops

DEPTHS = (8, 10, 12, 14, 16)
#: With more pixels, dark colours keep the steps of their upper bytes: the lower ones would take 4 more bytes a pixel.
MAX_LOWER = 10_000_000
#: How Pillow is told to take the lower byte where it takes the upper one.
LOWER = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}


def bits_in_use(image: Image.Image) -> int:
    """How many of 16 bits hold a picture's largest value, and are no fewer than it says itself. Of colours Pillow gives
    the upper bytes alone."""
    grey, colours = image.mode.startswith("I"), _colours(image)
    largest = int(np.array(image.getextrema()).reshape(-1, 2)[:colours, 1].max())
    largest = largest if grey else 256 * largest + 255
    return next((bits for bits in DEPTHS if bits >= image.info.get("bits", 0) and largest < 2**bits), 16)


def _colours(image: Image.Image) -> int:
    return len(image.getbands()) - (image.mode in ("RGBA", "LA"))


def grey_to_8_bits(image: Image.Image, bits: int) -> Image.Image:
    """A picture of grey values, or a part of it, as L; what is to be transparent becomes white."""
    values, white = np.asarray(image), 2**bits - 1
    shades = np.take((np.arange(white + 1) * (255.0 / white)).astype(np.uint8), values, mode="clip")
    clear = image.info.get("transparency")
    return Image.fromarray(shades if clear is None else np.where(values == clear, np.uint8(255), shades))


def brightened(image: Image.Image, file: bytes) -> Image.Image:
    """A PNG of 16 bits; if it is one of colours, of which Pillow gives the upper bytes, with the upper 8 of its bits in
    use. `file`: what it was read from."""
    bits = 16 if image.mode.startswith("I") else bits_in_use(image)
    if bits == 16:
        return image
    colours = _colours(image)
    rest = len(image.getbands()) - colours
    shifted = [min(value << (16 - bits), 255) for value in range(256)]
    upper = image.point(shifted * colours + [*range(256)] * rest)
    again = Image.open(io.BytesIO(file), formats=("PNG",))
    tile = again.tile[0]
    if tile.args not in LOWER or image.width * image.height > MAX_LOWER:
        return upper
    again.tile = [tile._replace(args=LOWER[tile.args])]
    shifted = [value >> (bits - 8) for value in range(256)]
    return ImageChops.add(upper, again.point(shifted * colours + [0] * 256 * rest))
