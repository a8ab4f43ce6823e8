"""Pixels as releases without a recorded door were made with: no profile, XMP's orientation, 16 bits as 8 or 16.

A release is served with the pixels that its model has learned from; this goes when nobody has such a release any more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps


def decode(image: Image.Image, at_least: int, factor: Callable[[], int]) -> Image.Image:
    """As door.decode, of what Pillow opened with all its trimmings. `factor`: by how much it is shrunk once decoded."""
    image.draft("RGB", (at_least, at_least))
    image.load()
    if (by := factor()) > 1:
        return ImageOps.exif_transpose(_shrink(image, by))
    return _flatten(ImageOps.exif_transpose(image), None)


def _shrink(image: Image.Image, factor: int) -> Image.Image:
    width, height = image.size
    rows = max(2_000_000 // width // factor, 1) * factor
    white = _white_value(image)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for above in range(0, height, rows):
        strip = _flatten(image.crop((0, above, width, min(above + rows, height))), white)
        small.paste(strip.reduce(factor), (0, above // factor))
    small.info = image.info
    return small


def _white_value(image: Image.Image) -> float | None:
    if not image.mode.startswith("I;16") and image.mode not in ("I", "F"):
        return None
    return 65535.0 if np.asarray(image).max(initial=0) > 255 else 255.0


def _flatten(image: Image.Image, white: float | None) -> Image.Image:
    if white := white or _white_value(image):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values.clip(0, white) * (255.0 / white)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")
