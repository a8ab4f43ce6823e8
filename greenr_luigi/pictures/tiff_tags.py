"""The directory of a TIFF's first page: its tags by their numbers, read and written again (TIFF 6.0, and BigTIFF)."""

from __future__ import annotations

import struct

from PIL import ExifTags

from greenr_luigi.pictures import colour
from greenr_luigi.pictures.unusable import broken

#: What tells the form with numbers of 8 bytes.
BIG = 43
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, PALETTE, TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 317, 320, 322, 323, 324, 325
EXTRA, KINDS, JPEG_TABLES, SUBSAMPLING, PROFILE = 338, 339, 347, 530, 34675
#: Those that draw, by the type in which they are written again: BYTE, SHORT or LONG. What is of bytes comes as bytes.
AS_BYTES, AS_SHORTS, AS_LONGS = 7, 3, 4
DRAWING = (
    dict.fromkeys((BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, PLANAR), AS_SHORTS)
    | dict.fromkeys((PREDICTOR, PALETTE, EXTRA, KINDS, SUBSAMPLING), AS_SHORTS)
    | dict.fromkeys((WIDTH, HEIGHT, STRIPS, ROWS, STRIP_BYTES, 292, 293), AS_LONGS)
    | dict.fromkeys((TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES), AS_LONGS)
    | {JPEG_TABLES: AS_BYTES}
)
ORIENTATION = int(ExifTags.Base.Orientation)
#: Bytes of a value by its type, of those that are whole numbers.
SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8}
LETTERS = {1: "B", 2: "H", 4: "I", 8: "Q"}
#: Tags, and values of one, at most: as many as a picture may have parts.
MAX_PARTS = 25_000
#: Bytes of a JPEG's tables, which all its parts share.
MAX_TABLES = 2**16

Tags = dict[int, tuple[int, ...]]


def read(data: bytes) -> Tags:
    """Those of the first directory that count here; of two of the same number the first.

    Raises UnusablePicture for one with more of them than any has, and struct.error for one that is cut off."""
    order = "<" if data.startswith(b"II") else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == BIG
    number, step, head = ("Q", 20, 8) if big else ("I", 12, 2)
    (at,) = struct.unpack_from(f"{order}{number}", data, 8 if big else 4)
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)
    if count > MAX_PARTS:
        raise broken(f"it has more than {MAX_PARTS:,} tags")
    found: Tags = {}
    for entry in range(at + head, at + head + step * count, step):
        tag, kind, values = struct.unpack_from(f"{order}HH{number}", data, entry)
        if tag in found or not (tag in DRAWING or tag in (ORIENTATION, PROFILE)):
            continue
        size, place = SIZES.get(kind, 0), entry + step - struct.calcsize(number)
        if not size or not values:
            continue
        most = {PROFILE: colour.MAX_PROFILE, JPEG_TABLES: MAX_TABLES}.get(tag, MAX_PARTS)
        if values > most:
            if tag == PROFILE:
                continue
            raise broken(f"it has more than {most:,} parts")
        if size * values > struct.calcsize(number):
            (place,) = struct.unpack_from(f"{order}{number}", data, place)
        found[tag] = struct.unpack_from(f"{order}{values}{LETTERS[size]}", data, place)
    return found


def written(data: bytes, order: str, tags: Tags) -> bytes:
    """The same file with a directory of these tags alone, at its end. `order`: of its bytes, "<" or ">"."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    end = len(data) + len(data) % 2
    entries, values = [], []
    at = end + 2 + 12 * len(tags) + 4
    for tag, told in sorted(tags.items()):
        kind = DRAWING[tag]
        value = struct.pack(f"{order}{len(told)}{LETTERS[SIZES[kind]]}", *told)
        entry = struct.pack(f"{order}HHI", tag, kind, len(told))
        if len(value) > 4:
            value = value.ljust(len(value) + len(value) % 2, b"\0")
            entries.append(entry + struct.pack(f"{order}I", at))
            values.append(value)
            at += len(value)
        else:
            entries.append(entry + value.ljust(4, b"\0"))
    directory = [struct.pack(f"{order}H", len(tags)), *entries, bytes(4)]
    return b"".join(
        [head, struct.pack(f"{order}I", end), data[8:].ljust(end - 8, b"\0"), *directory, *values]
    )
