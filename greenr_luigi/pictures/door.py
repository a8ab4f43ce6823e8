"""What a usable picture is: the one door that every picture passes, in training and in serving.

`open_picture` turns untrusted bytes into an upright RGB image or says why it will not; `square` turns that
image into the pixels that a model sees. Both sides of the project call these two and nothing else, so that
the model is served the same pixels that it was trained on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# Only the decoders of the allow-list: asked for a name that it does not know, Pillow would load all it has.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from greenr_luigi.pictures import (
    apart,
    avif,
    bombs,
    colour,
    depth,
    first_door,
    heif,
    jpeg,
    kinds,
    orientation,
    tiff,
)
from greenr_luigi.pictures.flatten import flatten
from greenr_luigi.pictures.terms import STRANGERS, Terms
from greenr_luigi.pictures.trimmings import without_trimmings
from greenr_luigi.pictures.unusable import MAX_BYTES as MAX_BYTES
from greenr_luigi.pictures.unusable import UnusablePicture as UnusablePicture
from greenr_luigi.pictures.unusable import broken, too_large, unread
from greenr_luigi.pictures.version import VERSION as VERSION

PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin,
           WebPImagePlugin)  # fmt: skip
#: What Pillow may try to decode, decided by content and not by name.
FORMATS = tuple(kinds.FORMATS)
SUFFIXES = {name: f".{name.lower()}" for name in (*FORMATS, *kinds.OWN, *kinds.APART)} | {"JPEG": ".jpg"}
#: A 50-megapixel phone photograph passes; at 4 bytes a pixel it takes 200 MB while it is decoded.
MAX_PIXELS = 50_000_000
#: Their decoders hold a picture two and four times, and other formats' once: fewer pixels fit into 300 MB.
MAX_PIXELS_OF = {"AVIF": 25_000_000, "HEIC": 25_000_000, "WEBP": 16_000_000}
#: With more pixels than this, a picture is shrunk while it is flattened, so as not to be in memory several times.
LARGE = 4_000_000
#: Of what is shrunk, no more pixels are kept, however long and narrow it is.
KEPT = 8_000_000
#: Bytes of a JPEG in scans that has an end and is decoded twice all the same.
MAX_TWICE = 4 * 2**20
#: BMP's compressions by runs, written in Python and slow: BI_RLE8 and BI_RLE4.
RUN_LENGTH = (1, 2)

#: What Pillow's decoders are known to raise on hostile bytes.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, ArithmeticError,
                 LookupError, TypeError, AttributeError, AssertionError, MemoryError, RuntimeError)  # fmt: skip


class Picture(NamedTuple):
    """`image`: the pixels, upright; `size`: width and height of the whole picture, of which that may be a fraction;
    `suffix`: the file ending that goes with the content, such as ".jpg"."""

    image: Image.Image
    size: tuple[int, int]
    suffix: str


# Pillow warns of what it then repairs or refuses. One filter for good: `catch_warnings` around each picture would
# swap the process's list of filters under other threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def open_picture(data: bytes, at_least: int, version: int = VERSION, terms: Terms = STRANGERS) -> Image.Image:
    """Decode bytes to an upright image in sRGB; the first frame of an animation, transparency laid on white.

    `at_least`: see `decode`. `version`: the door whose pixels are wanted, of version.VERSIONS. `terms`: those on
    which it is read. Raises UnusablePicture with reason "too-large" (bytes or pixels), "format", "too-small" or
    "broken".
    """
    return read(data, at_least, version, terms).image


def read(data: bytes, at_least: int, version: int = VERSION, terms: Terms = STRANGERS) -> Picture:
    """As `open_picture`, with what the file says of the whole picture."""
    if kinds.format_of(data) == "HEIC":
        require_bytes(data)
        return Picture(*apart.decode(heif.still(data), at_least, terms.min_side), SUFFIXES["HEIC"])
    header = open_header(data, terms)
    kind, size = str(header.format), header.size
    upright = size[::-1] if orientation.of(header) in orientation.SIDEWAYS else size
    if version == 1 and kind in FORMATS:
        header = _opened(data, kind, terms)
        with _refusing():
            image = first_door.decode(header, at_least, lambda: _factor(header, at_least))
    else:
        image = decode(header, at_least)
    return Picture(image, upright, SUFFIXES[kind])


def open_header(data: bytes, terms: Terms = STRANGERS) -> ImageFile.ImageFile:
    """A picture that may be decoded, of which only the header has been read; raises as `open_picture`."""
    kind = kinds.format_of(data, terms.own)
    if kind is None:
        raise unread(kinds.what_else(data))
    require_bytes(data)
    bombs.check(data)
    with _refusing():
        drawing, told = without_trimmings(data, kind)
    image = _opened(drawing, kind, terms)
    image.info.update(told)
    return image


def require_bytes(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise too_large(f"the file has {len(data):,} bytes", MAX_BYTES)


def require_pixels(size: tuple[int, int], kind: str, terms: Terms) -> None:
    (width, height), most = size, MAX_PIXELS_OF.get(kind, MAX_PIXELS)
    told = f"the picture has {width} x {height} pixels"
    if width * height > most:
        raise too_large(told, most)
    if min(width, height) < terms.min_side:
        raise UnusablePicture("too-small", f"{told}; each side must have at least {terms.min_side}")


def _opened(data: bytes, kind: str, terms: Terms) -> ImageFile.ImageFile:
    with _refusing():
        try:
            image = Image.open(bombs.Counted(avif.still(data) if kind == "AVIF" else data), formats=[kind])
        except UnidentifiedImageError:
            if kind == "TIFF":  # Its directory was read: Pillow knows no such pixels.
                raise unread(tiff.STRANGE) from None
            raise
    assert isinstance(image, ImageFile.ImageFile)
    require_pixels(image.size, kind, terms)
    if image.info.get("compression") in RUN_LENGTH:
        raise UnusablePicture("format", "run-length encoded BMP is not read: save it as PNG and try again")
    return image


def decode(image: ImageFile.ImageFile, at_least: int) -> Image.Image:
    """The pixels behind a header, as `open_picture` gives them.

    `at_least`: the side in pixels that the caller will shrink to. A JPEG larger than that is decoded at a half, a
    quarter or an eighth of its size, never below `at_least` on either side (libjpeg's scaled DCT); what is LARGE then
    is shrunk to no less than twice that, or to KEPT pixels.
    """
    told, turn, pixels = image.info.copy(), orientation.of(image), image.width * image.height
    image.info.pop("exif", None)  # By which Pillow would turn a TIFF, too.
    with _refusing():
        file, frame = image.fp, image.tile[0].extents if image.format == "GIF" else None
        assert isinstance(file, io.BytesIO)
        image.draft("RGB", (at_least, at_least))
        image.load()
        # Of a long and narrow one there is no room for a second, and one in scans takes long.
        small = image.width * image.height <= KEPT
        many = pixels > KEPT or len(file.getvalue()) > MAX_TWICE
        quick = small and not (many and "progressive" in told)
        doubtful = "open" in told or (image.format == "JPEG" and quick and jpeg.ends_flat(image))
        if doubtful and not (small and jpeg.has_all_rows(file.getvalue(), image, at_least)):
            raise broken("truncated")
        to_srgb = colour.conversion(told.get("icc_profile"), image.mode)
        whole = depth.brightened(image, file.getvalue()) if "bits" in told else tiff.usual(image)
        flat = flatten(whole, _factor(image, at_least), frame, to_srgb)
        if "negative" in told:
            flat = ImageChops.invert(flat)
        # What they told of the file does not hold for the pixels, and Pillow would write it into copies.
        flat.info = {}
        return orientation.upright(flat, turn)


def decode_heif(data: bytes, at_least: int, min_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """As `apart.decode`, which has it done in a process apart. Its decoder turns the picture upright (irot, imir), so
    that EXIF data may not turn it again."""
    import pillow_heif

    with _refusing():
        file = pillow_heif.open_heif(data)
        require_pixels(file.size, "HEIC", Terms(min_side))
        profile, told = file.info.get("icc_profile"), file.info.get("nclx_profile")
        if told and not profile:
            primaries, transfer = int(told["color_primaries"]), int(told["transfer_characteristics"])
            profile = colour.coded(primaries, colour.OF_SRGB if transfer in colour.OF_VIDEO else transfer)
        image = file.to_pillow()
        image.info = {}
        to_srgb = colour.conversion(profile, image.mode)
        return flatten(image, _factor(image, at_least), None, to_srgb), image.size


def _factor(image: Image.Image, at_least: int) -> int:
    """By how much a decoded picture is shrunk while it is flattened."""
    if image.width * image.height <= LARGE:
        return 1
    return max(min(image.size) // (2 * at_least), math.ceil(math.sqrt(image.width * image.height / KEPT)))


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


def square(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels a model sees: uint8, shape (size, size, 3), the whole picture squeezed by Pillow's
    antialiased bilinear filter; the same as fastai's `Resize(size, method="squish")`."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def suffix(data: bytes) -> str:
    """The file ending that goes with the content, such as ".jpg". Raises UnusablePicture."""
    if kind := kinds.format_of(data, own=True):
        return SUFFIXES[kind]
    raise unread(kinds.what_else(data))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
