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

from greenr_luigi.pictures import bombs

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
#: Their decoders hold a picture two to four times; other formats' once.
MAX_PIXELS_OF = {"WEBP": MAX_PIXELS // 2, "AVIF": MAX_PIXELS // 2}
#: With more pixels than this, a picture is shrunk while it is flattened, so as not to be in memory several times.
LARGE = 4_000_000
#: Rows that are flattened at a time.
STRIP = 256
TOO_MANY = f"the picture has too many pixels; at most {MAX_PIXELS:,} are read: shrink it first"
#: Smaller than this on one side, there is nothing to see.
MIN_SIDE = 32

#: BMP's compressions by runs, written in Python and slow: BI_RLE8 and BI_RLE4.
RUN_LENGTH = (1, 2)

#: What Pillow's decoders are known to raise on hostile bytes.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, ArithmeticError,
                 LookupError, TypeError, AttributeError, AssertionError, MemoryError, RuntimeError)  # fmt: skip


class UnusablePicture(ValueError):
    """Bytes that are no usable picture. `reason` is a short constant word, the message is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def open_picture(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode bytes to an upright RGB image; the first frame of an animation, transparency laid on white.

    `at_least`: the side in pixels that the caller will shrink to. A JPEG larger than that is decoded at a
    half, a quarter or an eighth of its size, never below `at_least` on either side (libjpeg's scaled DCT); what is
    LARGE then is shrunk to no less than twice that.

    Raises UnusablePicture with reason "too-large" (bytes or pixels), "format", "too-small" or "broken".
    """
    if len(data) > MAX_BYTES:
        raise UnusablePicture(
            "too-large", f"the file has {len(data):,} bytes; at most {MAX_BYTES:,} are read: shrink it first"
        )
    if too_many := bombs.excess(data):
        raise UnusablePicture(
            "broken", f"the picture cannot be read ({too_many}): save it anew and try again"
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
        most = MAX_PIXELS_OF.get(str(image.format), MAX_PIXELS)
        if width * height > most:
            raise UnusablePicture(
                "too-large", f"{width} x {height} pixels; at most {most:,} are read: shrink it first"
            )
        if min(width, height) < MIN_SIDE:
            raise UnusablePicture(
                "too-small",
                f"the picture has {width} x {height} pixels; each side must have at least {MIN_SIDE}",
            )
        if image.info.get("compression") in RUN_LENGTH:
            raise UnusablePicture(
                "format", "run-length encoded BMP is not read: save it as PNG and try again"
            )
        try:
            if at_least is not None:
                image.draft("RGB", (at_least, at_least))
            image.load()
            if at_least is not None and image.width * image.height > LARGE:
                return ImageOps.exif_transpose(shrunk(image, max(1, min(image.size) // (2 * at_least))))
            return flatten(ImageOps.exif_transpose(image))
        except Image.DecompressionBombError:
            raise UnusablePicture("too-large", TOO_MANY) from None
        except DECODE_ERRORS as error:
            raise UnusablePicture(
                "broken", f"the picture cannot be read to its end ({error}): save it anew and try again"
            ) from None


def shrunk(image: Image.Image, factor: int) -> Image.Image:
    """A decoded picture in RGB with a `factor`-th of its sides, each pixel the mean of those it stands for; flattened
    strip by strip. Its EXIF data stay."""
    width, height = image.size
    rows = max(STRIP // factor, 1) * factor
    top = brightest(image)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for above in range(0, height, rows):
        strip = flatten(image.crop((0, above, width, min(above + rows, height))), top)
        small.paste(strip.reduce(factor), (0, above // factor))
    small.info = image.info
    return small


def deep(image: Image.Image) -> bool:
    """Whether its values have more than 8 bits."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def brightest(image: Image.Image) -> float:
    """What stands for white."""
    return 65535.0 if deep(image) and np.asarray(image).max(initial=0) > 255 else 255.0


def flatten(image: Image.Image, top: float | None = None) -> Image.Image:
    """Any Pillow mode to RGB: 16-bit scaled (Pillow alone would clip it), alpha laid on white. `top`: what stands for
    white in the whole picture, if this is a part."""
    if deep(image):
        top = brightest(image) if top is None else top
        values = np.asarray(image).astype(np.float64)
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
