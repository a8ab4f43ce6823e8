"""Pictures inside an answer, as data addresses: the heat map and the visitor's own. Nothing is kept."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from greenr_luigi.pictures.door import open_picture

#: The longest side in pixels of the picture that an answer shows.
SHOWN = 640
#: How much finer the map is drawn than the model's own grid.
FINER = 4
#: Matplotlib's inferno at equal steps: its brightness grows evenly, so it reads without colour vision too.
INFERNO = np.array(
    [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
     [249, 201, 50], [252, 255, 164]], np.float32
)  # fmt: skip


def overlay(heat: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    """A map (h, w) of 0 to 1 as a small colour picture, to be laid over the whole of the visitor's."""
    height, width = heat.shape
    grey = Image.fromarray(heat).resize((width * FINER, height * FINER), Image.Resampling.BICUBIC)
    place = np.asarray(grey).clip(0, 1) * (len(INFERNO) - 1)
    low = np.minimum(place.astype(int), len(INFERNO) - 2)
    part = (place - low)[..., None]
    colours = INFERNO[low] * (1 - part) + INFERNO[low + 1] * part
    return address(Image.fromarray(colours.astype(np.uint8)), "PNG")


def shown(data: bytes) -> str:
    """A picture as its visitor sees it, upright and small. Raises UnusablePicture."""
    image = open_picture(data, at_least=SHOWN)
    image.thumbnail((SHOWN, SHOWN))
    return address(image, "JPEG", quality=80)


def address(image: Image.Image, kind: str, **how: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
