"""A BMP as Pillow reads it, whatever bits its colours are in, and the profile that it carries (BITMAPV5HEADER)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from greenr_luigi.pictures import colour

#: Compressions that say which bits hold which colour: BI_BITFIELDS and BI_ALPHABITFIELDS.
FIELDS = (3, 6)
#: Where the header begins, and where the masks do, be they in it or behind it.
HEADER, MASKS = 14, 54
#: Rows that are unpacked at a time have so many pixels.
STRIP = 1_000_000
EMBEDDED = b"DEBM"


def without_trimmings(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A file that draws the same, and what was told beside it, by Pillow's names: "icc_profile". Raises OSError for one
    that lacks pixels."""
    if len(data) < MASKS:
        return data, {}
    size, width, height, bits, compression = struct.unpack_from("<IiixxHI", data, HEADER)
    (colours,) = struct.unpack_from("<I", data, 46)
    info = _profile(data) if size == 124 else {}
    if size >= 40 and bits <= 8 and colours > 1 << bits:
        # No more colours in its table than its pixels can name.
        return data[:46] + bytes(4) + data[50:], info
    if size >= 40 and compression in FIELDS and bits in (16, 32) and width > 0 and height:
        count = 4 if size >= 56 or compression == FIELDS[1] else 3
        masks = struct.unpack_from(f"<{count}I", data.ljust(MASKS + 16, b"\0"), MASKS)
        return _in_bytes(data, width, height, bits, masks), info
    return data, info


def _profile(data: bytes) -> dict[str, bytes]:
    kind, at, length = struct.unpack_from("<4s52xII", data.ljust(HEADER + 124, b"\0"), HEADER + 56)
    profile = data[HEADER + at : HEADER + at + min(length, colour.MAX_PROFILE)]
    return {"icc_profile": profile} if kind == EMBEDDED and profile else {}


def _in_bytes(data: bytes, width: int, height: int, bits: int, masks: tuple[int, ...]) -> bytes:
    """The same picture with a byte for each colour. Pillow knows a few layouts, and passes some of transparency by."""
    (at,) = struct.unpack_from("<I", data, 10)
    stride, rows = (width * bits + 31) // 32 * 4, abs(height)
    if len(data) < at + stride * rows:
        raise OSError("truncated")
    pixels = np.ndarray((rows, width), f"<u{bits // 8}", data, at, (stride, bits // 8))
    made = np.empty((rows, width, 4), np.uint8)
    step = max(STRIP // width, 1)
    for top in range(0, rows, step):
        part = slice(top, top + step)
        # Blue comes first.
        for place, mask in zip((2, 1, 0, 3), (*masks, 0)[:4], strict=True):
            made[part, :, place] = _values(pixels[part], mask)
    alpha = 0xFF000000 if len(masks) > 3 and masks[3] else 0
    head = struct.pack("<2s8xIIiiHHI20x", b"BM", HEADER + 108, 108, width, height, 1, 32, FIELDS[0])
    head = (head + struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, alpha)).ljust(HEADER + 108, b"\0")
    return b"".join([head, made.data])


def _values(pixels: np.ndarray, mask: int) -> np.ndarray:
    """What the bits of a mask say, from 0 to 255; of more than 8 the upper ones count."""
    if not mask:
        return np.zeros(pixels.shape, np.uint8)
    shift = max((mask & -mask).bit_length() - 1, mask.bit_length() - 8)
    most = mask >> shift
    shades = (np.arange(most + 1) * 255 / most + 0.5).astype(np.uint8)
    found: np.ndarray = shades[(pixels >> pixels.dtype.type(shift)) & pixels.dtype.type(most)]
    return found
