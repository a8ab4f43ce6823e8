"""What a usable picture is: the one door that every picture passes, in training and in serving.

`open_picture` turns untrusted bytes into an upright RGB image or says why it will not; `square` turns that
image into the pixels that a model sees. Both sides of the project call these two and nothing else, so that
the model is served the same pixels that it was trained on.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
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

from greenr_luigi.pictures import bombs, kinds
from greenr_luigi.pictures.unusable import UnusablePicture as UnusablePicture
from greenr_luigi.pictures.unusable import broken, too_large, unread

PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
#: What Pillow may try to decode, decided by content and not by name.
FORMATS = tuple(kinds.FORMATS)
SUFFIXES = {name: f".{name.lower()}" for name in FORMATS} | {"JPEG": ".jpg", "MPO": ".jpg"}
MAX_BYTES = 20 * 2**20
#: A 50-megapixel phone photograph passes; at 4 bytes a pixel it takes 200 MB while it is decoded.
MAX_PIXELS = 50_000_000
#: Their decoders hold a picture two and four times, and other formats' once: fewer pixels fit into 300 MB.
MAX_PIXELS_OF = {"AVIF": 25_000_000, "WEBP": 18_000_000}
#: With more pixels than this, a picture is shrunk while it is flattened, so as not to be in memory several times.
LARGE = 4_000_000
#: Of what is shrunk, no more pixels are kept, however long and narrow it is.
KEPT = 8_000_000
#: Pixels that are flattened at a time.
STRIP = 2_000_000
#: Smaller than this on one side, there is nothing to see.
MIN_SIDE = 32

#: BMP's compressions by runs, written in Python and slow: BI_RLE8 and BI_RLE4.
RUN_LENGTH = (1, 2)

#: What Pillow's decoders are known to raise on hostile bytes.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, ArithmeticError,
                 LookupError, TypeError, AttributeError, AssertionError, MemoryError, RuntimeError)  # fmt: skip


# Pillow warns of what it then repairs or refuses. One filter for good: `catch_warnings` around each picture would
# swap the process's list of filters under other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_picture(data: bytes, at_least: int | None = None) -> Image.Image:
    """Decode bytes to an upright RGB image; the first frame of an animation, transparency laid on white.

    `at_least`: see `decode`. Raises UnusablePicture with reason "too-large" (bytes or pixels), "format", "too-small" or
    "broken".
    """
    return decode(open_header(data), at_least)


def open_header(data: bytes) -> Image.Image:
    """A picture that may be decoded, of which only the header has been read; raises as `open_picture`."""
    kind = kinds.format_of(data)
    if kind is None:
        raise unread(kinds.what_else(data))
    if len(data) > MAX_BYTES:
        raise too_large(f"the file has {len(data):,} bytes", MAX_BYTES)
    if kind == "WEBP" and 8 + int.from_bytes(data[4:8], "little") > len(data):
        raise broken("truncated")  # Its decoder says nothing of why.
    bombs.check(data)
    with _refusing():
        image = Image.open(bombs.Counted(data), formats=[kind])
    width, height = image.size
    most = MAX_PIXELS_OF.get(str(image.format), MAX_PIXELS)
    size = f"the picture has {width} x {height} pixels"
    if width * height > most:
        raise too_large(size, most)
    if min(width, height) < MIN_SIDE:
        raise UnusablePicture("too-small", f"{size}; each side must have at least {MIN_SIDE}")
    if image.info.get("compression") in RUN_LENGTH:
        raise UnusablePicture("format", "run-length encoded BMP is not read: save it as PNG and try again")
    return image


def decode(image: Image.Image, at_least: int | None = None) -> Image.Image:
    """The pixels behind a header, as `open_picture` gives them.

    `at_least`: the side in pixels that the caller will shrink to. A JPEG larger than that is decoded at a half, a
    quarter or an eighth of its size, never below `at_least` on either side (libjpeg's scaled DCT); what is LARGE then
    is shrunk to no less than twice that, or to KEPT pixels.
    """
    with _refusing():
        if at_least is not None:
            image.draft("RGB", (at_least, at_least))
        image.load()
        if at_least is not None and image.width * image.height > LARGE:
            narrow = math.ceil(math.sqrt(image.width * image.height / KEPT))
            return ImageOps.exif_transpose(shrink(image, max(min(image.size) // (2 * at_least), narrow)))
        return flatten(ImageOps.exif_transpose(image))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """What Pillow raises, as UnusablePicture."""
    try:
        yield
    except UnidentifiedImageError:
        raise broken("its beginning is damaged or cut off") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large("the picture has too many pixels", MAX_PIXELS) from None
    except DECODE_ERRORS as error:
        raise broken(error) from None


def shrink(image: Image.Image, factor: int) -> Image.Image:
    """A decoded picture in RGB with a `factor`-th of its sides, each pixel the mean of those that it stands for.
    Flattened strip by strip, which saves memory; its EXIF data stay."""
    width, height = image.size
    rows = max(STRIP // width // factor, 1) * factor
    white = white_value(image)
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for above in range(0, height, rows):
        strip = flatten(image.crop((0, above, width, min(above + rows, height))), white)
        small.paste(strip.reduce(factor), (0, above // factor))
    small.info = image.info
    return small


def white_value(image: Image.Image) -> float | None:
    """What stands for white in a picture of more than 8 bits a value; None for all others."""
    if not image.mode.startswith("I;16") and image.mode not in ("I", "F"):
        return None
    return 65535.0 if np.asarray(image).max(initial=0) > 255 else 255.0


def flatten(image: Image.Image, white: float | None = None) -> Image.Image:
    """Any Pillow mode to RGB: 16-bit scaled (Pillow alone would clip it), alpha laid on white. `white`: the whole
    picture's white_value, if this is a part."""
    if white := white or white_value(image):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray((values.clip(0, white) * (255.0 / white)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels a model sees: uint8, shape (size, size, 3), the whole picture squeezed by Pillow's
    antialiased bilinear filter; the same as fastai's `Resize(size, method="squish")`."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def suffix(data: bytes) -> str:
    """The file ending that goes with the content, such as ".jpg". Raises UnusablePicture."""
    return SUFFIXES[str(open_header(data).format)]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
