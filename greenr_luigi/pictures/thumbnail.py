"""Small pictures, and pictures inside a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from greenr_luigi.pictures.door import open_picture
from greenr_luigi.pictures.terms import TAKEN


def thumbnail(data: bytes, side: int) -> Image.Image:
    """A picture that was taken, upright, whose longer side has at most `side` pixels. Raises UnusablePicture."""
    image = open_picture(data, at_least=side, terms=TAKEN)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return buffer.getvalue()


def data_address(image: Image.Image, kind: str = "JPEG") -> str:
    """A picture as an address that holds it whole (RFC 2397)."""
    return address_of(encoded(image, kind), kind)


def address_of(data: bytes, kind: str = "JPEG") -> str:
    """As `data_address`, of an encoded picture."""
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"
