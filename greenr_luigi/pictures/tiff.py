"""The first page of a TIFF as Pillow reads it: the tags that draw it, in a directory of their own, and what others say
of orientation and colour (TIFF 6.0, its technical notes, and BigTIFF).

libtiff gets no other tag. What decoding costs is told by these, since they bind it: so many parts (strips or tiles),
each unpacked as a whole to a size that the file gives.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import math
import struct
from typing import Any

import numpy as np
from PIL import Image, _imaging

from greenr_luigi.pictures import jpeg, tiff_tags
from greenr_luigi.pictures.tiff_tags import (
    BITS,
    COMPRESSION,
    HEIGHT,
    JPEG_TABLES,
    KINDS,
    MAX_PARTS,
    ORIENTATION,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    PROFILE,
    ROWS,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    WIDTH,
    Tags,
)
from greenr_luigi.pictures.unusable import broken, too_large, unread

PLAIN, JPEG = 1, 7
#: Compressions that are read: none, CCITT's three, LZW, JPEG, Deflate by both its numbers, PackBits.
READ = (PLAIN, 2, 3, 4, 5, JPEG, 8, 32946, 32773)
UNREAD = {6: "old-style JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC",
          34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}  # fmt: skip
#: Photometric interpretations that are read: white or black is zero, RGB, a palette, inks, Lab; YCBCR as JPEG alone.
NEGATIVE, GREY, INDEXED, YCBCR = 0, 1, 3, 6
COLOURS = (NEGATIVE, GREY, 2, INDEXED, 5, YCBCR, 8)
#: Sample formats: whole numbers, and undefined, as some call them; signed ones and those with a point.
WHOLE, OTHERS = (1, 4), {2: "signed numbers", 3: "floating-point numbers"}

MAX_SAMPLES = 16
#: Bytes of all parts, unpacked, as many as of a PNG's rows, and to unpack a byte of the file takes as long as so many;
#: and of the decoded picture with its largest part.
MAX_UNPACKED, PACKED_BYTE, MAX_HELD = 190_000_000, 6, 250_000_000
#: How a JPEG's frame of whatever kind begins (ITU T.81, Table B.1).
ALL_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
SAVE = "save it as PNG and try again"
#: Of what Pillow does not know, though it is whole.
STRANGE = f"this TIFF has pixels of a kind that is not read: {SAVE}"

# libtiff prints what it finds wrong, from whatever thread. Pillow says it in an error.
with contextlib.suppress(AttributeError, OSError):  # A Pillow without it, or with one of its own inside.
    _libtiff = ctypes.CDLL(_imaging.__file__)
    _libtiff.TIFFSetErrorHandler(None)
    _libtiff.TIFFSetWarningHandler(None)
# Pillow logs what it raises as well.
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL + 1)


def is_raw(tags: Tags) -> bool:
    """Whether it is a camera's: a mosaic of colours, or linear ones."""
    return tags.get(PHOTOMETRIC, (GREY,))[0] in (32803, 34892)


def without_trimmings(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A file of its first page alone, and what was told beside it, by Pillow's names: "exif", with the orientation
    alone, and "icc_profile"; and "negative", where Pillow takes white for black.

    Raises UnusablePicture for one that is not read, or would cost too much."""
    try:
        tags = tiff_tags.read(data)
        order = "<" if data.startswith(b"II") else ">"
        _require_read(tags)
        data, tags = _interleaved(data, _within_bounds(data, tags))
    except (struct.error, IndexError, KeyError):
        raise broken("its directory is damaged or cut off") from None
    info: dict[str, Any] = {}
    if profile := tags.pop(PROFILE, ()):
        info["icc_profile"] = bytes(profile)
    if turn := tags.pop(ORIENTATION, ()):
        info["exif"] = struct.pack("<4sIHHHIHxx", b"II*\0", 8, 1, ORIENTATION, 3, 1, turn[0] & 0xFFFF)
    if tags[PHOTOMETRIC] == (NEGATIVE,) and tags[BITS][0] == 16:
        tags[PHOTOMETRIC], info["negative"] = (GREY,), True
    return tiff_tags.written(data, order, tags), info


def _interleaved(data: bytes, tags: Tags) -> tuple[bytes, Tags]:
    """Planes that are not packed as one, since libtiff has no part in these: Pillow would take each byte of 16 bits for
    a value, and knows some kinds of pixels side by side only."""
    samples, kind = tags[SAMPLES][0], {8: np.uint8, 16: np.uint16}.get(tags[BITS][0])
    if tags.get(PLANAR, (1,))[0] != 2:
        return data, tags
    packed = tags.get(COMPRESSION, (PLAIN,))[0] != PLAIN
    if packed and samples == 2:  # Pillow would read another transparency.
        raise unread(STRANGE)
    if packed or kind is None or len({*tags[BITS]}) > 1:
        return data, tags
    offsets, lengths = (TILES, TILE_BYTES) if TILES in tags else (STRIPS, STRIP_BYTES)
    parts = [
        np.frombuffer(data[at : at + n], kind) for at, n in zip(tags[offsets], tags[lengths], strict=True)
    ]
    each = len(parts) // samples
    whole = [np.stack(parts[number::each], -1).tobytes() for number in range(each)]
    ends = tuple(itertools.accumulate(map(len, whole), initial=8))
    tags |= {PLANAR: (1,), offsets: ends[:-1], lengths: tuple(map(len, whole))}
    return b"".join([data[:8], *whole]), tags


def usual(image: Image.Image) -> Image.Image:
    """A decoded picture in a mode that all of Pillow knows."""
    if image.mode == "I;16B":
        return Image.fromarray(np.asarray(image).astype("<u2"))
    return image.convert("LA") if image.mode == "La" else image


def _require_read(tags: Tags) -> None:
    """Raises UnusablePicture for what Pillow does not read, or not as it is meant."""
    compression, photometric = (tags.get(tag, (1,))[0] for tag in (COMPRESSION, PHOTOMETRIC))
    kind, bits = tags.get(KINDS, (1,))[0], max(tags.get(BITS, (1,)))
    if is_raw(tags):
        raise unread("this is a camera's raw file, which is not read: export it as JPEG and try again")
    if compression not in READ:
        by = UNREAD.get(compression, f"a method with the number {compression}")
        raise unread(f"this TIFF is packed by {by}, which is not read: {SAVE}")
    if kind not in WHOLE:
        raise unread(
            f"this TIFF holds {OTHERS.get(kind, 'numbers of another kind')}, which are not read: {SAVE}"
        )
    if bits > 16:
        raise unread(f"this TIFF holds numbers of {bits} bits, which are not read: {SAVE}")
    if photometric not in COLOURS or (photometric == YCBCR and compression != JPEG):
        raise unread(f"this TIFF tells its colours in a way (number {photometric}) that is not read: {SAVE}")
    if compression == JPEG and tags.get(BITS, (1,))[0] != 8:
        raise unread(f"this TIFF holds JPEG of {tags.get(BITS, (1,))[0]} bits, which is not read: {SAVE}")
    if tags.get(PREDICTOR, (1,))[0] not in (1, 2):
        raise unread(f"this TIFF is packed as floating-point numbers, which are not read: {SAVE}")


def _within_bounds(data: bytes, tags: Tags) -> Tags:
    """The tags with all that they need, and no part that the picture does not. Raises UnusablePicture."""
    width, height = tags[WIDTH][0], tags[HEIGHT][0]
    samples = tags.get(SAMPLES, (1,))[0]
    if not (0 < width < 2**31 and 0 < height < 2**31 and 0 < samples <= MAX_SAMPLES):
        raise IndexError("no size")
    bits = tags.get(BITS, (1,))
    bits = (bits * samples if len(bits) == 1 else bits)[:samples]
    planes = samples if tags.get(PLANAR, (1,))[0] == 2 else 1
    compression = tags.get(COMPRESSION, (PLAIN,))[0]
    if len(bits) < samples:
        raise IndexError("fewer bits than samples")
    if TILES in tags:
        across, down = tags[TILE_WIDTH][0], tags[TILE_HEIGHT][0]
        offsets, lengths, names = tags[TILES], tags.get(TILE_BYTES, ()), (TILES, TILE_BYTES)
    else:
        across, down = width, min(tags.get(ROWS, (height,))[0], height)
        offsets, lengths, names = tags[STRIPS], tags.get(STRIP_BYTES, ()), (STRIPS, STRIP_BYTES)
    if not (across and down):
        raise IndexError("parts without a size")
    each = -(-width // across) * -(-height // down)
    row = -(-across * (max(bits) if planes > 1 else sum(bits)) // 8)
    part, count = row * down, each * planes
    if count > MAX_PARTS:
        raise broken(f"it has more than {MAX_PARTS:,} parts")
    if compression == PLAIN:
        # Of a picture's last strip there are as many rows as are left; lengths are often wrong.
        rows = (
            [part] * len(offsets)
            if TILES in tags
            else [row * min(down, height - down * (number % each)) for number in range(len(offsets))]
        )
        lengths = tuple(rows)
    elif not lengths and len(offsets) == count == 1:
        lengths = (len(data) - offsets[0],)
    offsets, lengths = offsets[:count], lengths[:count]
    ends = (at + length for at, length in zip(offsets, lengths, strict=False))
    if min(len(offsets), len(lengths)) < count or max(ends) > len(data):
        raise broken("truncated")
    if sum(lengths) > len(data):
        raise broken("its parts lie over one another")
    held = width * height * (4 if samples > 1 else math.ceil(bits[0] / 8)) + part
    most = MAX_UNPACKED if compression == PLAIN else MAX_UNPACKED - PACKED_BYTE * len(data)
    for amount, bound in ((part * count, most), (held, MAX_HELD)):
        if amount > bound:
            raise too_large(
                f"the picture has {width} x {height} pixels, {amount:,} bytes once it is unpacked", bound
            )
    if compression == JPEG:
        _require_baseline(data, offsets, lengths, bytes(tags.get(JPEG_TABLES, ())))
    told = {
        WIDTH: (width,),
        HEIGHT: (height,),
        BITS: bits,
        SAMPLES: (samples,),
        names[0]: offsets,
        names[1]: lengths,
    }
    if TILES not in tags:
        told[ROWS] = (down,)
    if palette := tags.get(PALETTE):
        # Some write steps of 255, not 65,535.
        told[PALETTE] = palette if max(palette) > 255 else tuple(257 * value for value in palette)
    return {PHOTOMETRIC: (NEGATIVE,)} | tags | told


def _require_baseline(data: bytes, offsets: tuple[int, ...], lengths: tuple[int, ...], tables: bytes) -> None:
    """Raises UnusablePicture for JPEG data in several scans, each of which is another pass over the picture."""
    parts = 0
    for jpeg_data in itertools.chain(
        [tables], (data[at : at + n] for at, n in zip(offsets, lengths, strict=True))
    ):
        components = 0
        for marker, begin, _ in jpeg.segments(jpeg_data):
            parts += 1
            if parts > 8 * MAX_PARTS:
                raise broken(f"it has more than {8 * MAX_PARTS:,} parts")
            if marker == jpeg.SOS and jpeg_data[begin + 4] == components:
                break  # Decoded as it comes, and nothing after this scan.
            if marker in (jpeg.BASELINE, jpeg.EXTENDED) and jpeg_data[begin + 4] == 8 and not components:
                components = jpeg_data[begin + 9]
            elif marker in ALL_FRAMES or marker == jpeg.SOS:
                raise unread(
                    f"this TIFF holds JPEG data in scans or of another kind, which are not read: {SAVE}"
                )
