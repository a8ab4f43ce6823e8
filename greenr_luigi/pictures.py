"""What a usable picture is: the one door that every picture passes, in training and in serving.

`open_picture` turns untrusted bytes into an upright RGB image or says why it will not; `square` turns that
image into the pixels that a model sees. Both sides of the project call these two and nothing else, so that
the model is served the same pixels that it was trained on.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np

# Only the decoders of the allow-list: asked for a name that it does not know, Pillow would load all it has.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
#: What Pillow may try to decode, decided by content and not by name. MPO, which phones write as JPEG, comes
#: in through JPEG's decoder and has no entry of its own.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "AVIF": ".avif",
}
MAX_BYTES = 20 * 2**20
#: A 50-megapixel phone photograph passes; at 4 bytes a pixel it takes 200 MB while it is decoded.
MAX_PIXELS = 50_000_000
TOO_MANY = f"the picture has too many pixels; at most {MAX_PIXELS:,} are read: shrink it first"
#: Smaller than this on one side, there is nothing to see.
MIN_SIDE = 32

#: What Pillow's decoders are known to raise on hostile bytes.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, OverflowError,
                 IndexError, KeyError, TypeError, MemoryError, RuntimeError)  # fmt: skip


class UnusablePicture(ValueError):
    """Bytes that are no usable picture. `reason` is a short constant word, the message is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def open_picture(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode bytes to an upright RGB image; the first frame of an animation, transparency laid on white.

    `at_least`: the side in pixels that the caller will shrink to. A JPEG larger than that is decoded at a
    half, a quarter or an eighth of its size, never below `at_least` on either side (libjpeg's scaled DCT).

    Raises UnusablePicture with reason "too-large" (bytes or pixels), "format", "too-small" or "broken".
    """
    if len(data) > MAX_BYTES:
        raise UnusablePicture(
            "too-large", f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are read: shrink it first"
        )
    with warnings.catch_warnings():
        # Pillow warns of what it then repairs or refuses; the refusal is an exception and is caught below.
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            raise UnusablePicture(
                "format", "this is not a picture in a known format: use " + ", ".join(FORMATS)
            ) from None
        except Image.DecompressionBombError:
            raise UnusablePicture("too-large", TOO_MANY) from None
        except DECODE_ERRORS as error:
            raise UnusablePicture(
                "broken", f"the picture cannot be read ({error}): save it anew and try again"
            ) from None
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnusablePicture(
                "too-large", f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read: shrink it first"
            )
        if min(width, height) < MIN_SIDE:
            raise UnusablePicture(
                "too-small",
                f"the picture has {width} x {height} pixels; each side must have at least {MIN_SIDE}",
            )
        try:
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            image.load()
            return flatten(ImageOps.exif_transpose(image))
        except Image.DecompressionBombError:
            raise UnusablePicture("too-large", TOO_MANY) from None
        except DECODE_ERRORS as error:
            raise UnusablePicture(
                "broken", f"the picture cannot be read to its end ({error}): save it anew and try again"
            ) from None


def flatten(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB: 16-bit scaled (Pillow alone would clip it), alpha laid on white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels a model sees: uint8, shape (size, size, 3), the whole picture squeezed by Pillow's
    antialiased bilinear filter; the same as fastai's `Resize(size, method="squish")`."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def suffix(data: bytes) -> str:
    """The file ending that goes with the content, such as ".jpg"."""
    return SUFFIXES[str(Image.open(io.BytesIO(data), formats=FORMATS).format)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def dhash(image: Image.Image) -> str:
    """A 64-bit perceptual hash as 16 hex digits: whether each pixel of a 9 x 8 grey thumbnail is darker than
    its right neighbour (Neal Krawetz, "Kind of like that", 2013). Like pictures differ in few bits."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR)).astype(np.int16)
    return f"{int(''.join('1' if bit else '0' for bit in (grey[:, :-1] < grey[:, 1:]).flatten()), 2):016x}"
