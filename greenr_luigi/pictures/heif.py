"""What decoding a HEIC costs, told by its boxes (ISO/IEC 23008-12, which an AVIF's are, too) and its video data (HEVC,
ITU-T H.265), and what of it is read: a picture, or a grid of tiles, with its transparency.

The size that it says of itself binds no decoder; those of its sequence parameter sets do.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from greenr_luigi.pictures import avif, kinds
from greenr_luigi.pictures.avif import MAX_PARTS, Bits, boxes
from greenr_luigi.pictures.unusable import broken, too_large, unread

#: Pixels of all tiles, and bytes of them, which take as long as so many pixels each: 24 megapixels, as phones take
#: them, in 5 MB.
MAX_COST, BYTE = 32_000_000, 1.4
#: What a pixel costs that is not of 4:2:0, and one of more than 8 bits.
FULL_COLOUR, DEEP = 1.6, 1.3
#: Kinds of items: video data, and a grid of them.
VIDEO, GRID = (b"hvc1", b"hev1"), b"grid"
#: Boxes of which there is one at most.
ONCE = (b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat", b"ipco", b"ipma")
#: What tells transparency of other pictures beside (depth, brightness).
ALPHA = re.compile(rb"urn:mpeg:(mpegB:cicp:systems:auxiliary:alpha|hevc:2015:auxid:1)\0")
#: Units of video data: the first kind that is no slice, and sequence parameter sets.
NO_SLICE, SEQUENCE = 32, 33
#: Bytes of a sequence parameter set that are looked at.
HEAD = 200
EXTRA = "pip install 'greenr_luigi[heic]'"


class Item(NamedTuple):
    """An item of a file: its four-letter type, where its bytes lie, and its properties, by type, beginning and end."""

    kind: bytes
    extents: list[tuple[int, int]]
    properties: list[tuple[bytes, int, int]]


@functools.cache
def is_read() -> bool:
    """Whether what decodes it is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def still(data: bytes) -> bytes:
    """The file without its movie. Raises UnusablePicture for one that is not read, or would cost too much."""
    if not is_read():
        raise unread(f"{kinds.what_else(data)}; or have it read: {EXTRA}")
    try:
        meta, movie = (
            next(((start, end) for name, start, end in boxes(data, 0, len(data)) if name == kind), None)
            for kind in (b"meta", b"moov")
        )
        if meta is None and movie:
            raise unread(f"this HEIF file is a movie, which is not read: {kinds.SINGLE}")
        if meta is None:
            raise broken("truncated")
        cost, alone = _cost(data, *meta), avif.still(data)
    except (struct.error, IndexError, KeyError, StopIteration, RecursionError):
        raise broken("its boxes are damaged or cut off") from None
    if cost > MAX_COST:
        raise too_large(f"to decode the picture costs as much as {cost:,.0f} pixels", MAX_COST)
    return alone


def _cost(data: bytes, start: int, end: int) -> float:
    inside = _inside(data, start + 4, end)
    first, _ = inside[b"pitm"]
    (primary,) = struct.unpack_from(">I" if data[first] else ">H", data, first + 4)
    items = _items(data, inside)
    parts, beside = _references(data, *inside.get(b"iref", (0, 0)))
    needed = [primary, *(number for number in beside.get(primary, ()) if _is_alpha(data, items[number]))]
    cost, count, of_tile = 0.0, 0, dict[int, tuple[float, int]]()
    for number in needed:
        item = items[number]
        if item.kind not in (*VIDEO, GRID):
            raise unread(
                f"this HEIF picture is made in a way ({item.kind!r}) that is not read: {kinds.PHONE}"
            )
        for tile in parts.get(number, ()) if item.kind == GRID else (number,):
            if items[tile].kind not in VIDEO:
                raise unread(
                    f"this HEIF picture holds {items[tile].kind!r}, which is not read: {kinds.PHONE}"
                )
            if tile not in of_tile:
                of_tile[tile] = _of_video(data, items[tile])
            spent, units = of_tile[tile]
            cost, count = cost + spent, count + units + 1
            if cost > MAX_COST:
                return cost
            if count > MAX_PARTS:
                raise broken(f"it has more than {MAX_PARTS:,} parts")
    return cost


def _inside(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Boxes by name. IndexError for two of a kind that counts: which of them a decoder takes is not told."""
    found: dict[bytes, tuple[int, int]] = {}
    for name, first, last in boxes(data, start, end):
        if name in found and name in ONCE:
            raise IndexError("two of a kind")
        found[name] = (first, last)
    return found


def _is_alpha(data: bytes, item: Item) -> bool:
    return any(name == b"auxC" and ALPHA.match(data, start + 4, end) for name, start, end in item.properties)


def _items(data: bytes, inside: dict[bytes, tuple[int, int]]) -> dict[int, Item]:
    kinds_of = dict(avif.kinds_of_items(data, *inside[b"iinf"]))
    extents = dict(avif.item_extents(data, inside[b"iloc"][0], inside.get(b"idat", (0, 0))[0]))
    found = _inside(data, *inside[b"iprp"])
    properties = [*boxes(data, *found[b"ipco"])]
    of: dict[int, list[tuple[bytes, int, int]]] = {}
    at, wide = found[b"ipma"][0], data[found[b"ipma"][0]] > 0
    large = data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    told = 0
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if wide else ">H", data, at)
        at += 4 if wide else 2
        told += 1 + data[at]
        if told > MAX_PARTS:
            raise broken(f"it has more than {MAX_PARTS:,} parts")
        for _ in range(data[at]):
            index = struct.unpack_from(">H", data, at + 1)[0] & 0x7FFF if large else data[at + 1] & 0x7F
            at += 2 if large else 1
            if index:
                of.setdefault(number, []).append(properties[index - 1])
        at += 1
    return {
        number: Item(kind, extents.get(number, []), of.get(number, [])) for number, kind in kinds_of.items()
    }


def _references(data: bytes, start: int, end: int) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """What each item is made of, and which pictures beside it belong to it."""
    parts, beside = dict[int, list[int]](), dict[int, list[int]]()
    wide, told = start < end and data[start] > 0, 0
    for name, at, last in boxes(data, start + 4, end) if start < end else ():
        word, size = (">I", 4) if wide else (">H", 2)
        (of,) = struct.unpack_from(word, data, at)
        (count,) = struct.unpack_from(">H", data, at + size)
        told += count
        if told > MAX_PARTS:
            raise broken(f"it has more than {MAX_PARTS:,} parts")
        if at + size + 2 + size * count > last:
            raise IndexError("a reference beyond its box")
        others = [struct.unpack_from(word, data, at + size + 2 + size * n)[0] for n in range(count)]
        if name == b"dimg":
            parts[of] = others
        elif name == b"auxl":
            for other in others:
                beside.setdefault(other, []).append(of)
    return parts, beside


def _of_video(data: bytes, item: Item) -> tuple[float, int]:
    """What an item of video data costs, and how many units it has."""
    start, end = next((start, end) for name, start, end in item.properties if name == b"hvcC")
    length, at, size, frames, units = (data[start + 21] & 3) + 1, start + 23, 0.0, 0, 0
    for _ in range(data[start + 22]):
        (count,) = struct.unpack_from(">H", data, at + 1)
        at += 3
        for _ in range(count):
            (long,) = struct.unpack_from(">H", data, at)
            at, units = at + 2 + long, units + 1
            if data[at - long] >> 1 & 63 == SEQUENCE:
                size = max(size, _size(data[at - long : at]))
            if at > end or units > MAX_PARTS:
                raise IndexError("more than the box holds")
    video = b"".join(data[first : first + many] for first, many in item.extents)
    for unit in _units(video, length):
        units += 1
        if units > MAX_PARTS:
            break
        kind = unit[0] >> 1 & 63
        if kind == SEQUENCE:
            size = max(size, _size(unit))
        elif kind < NO_SLICE and unit[2] >> 7:  # The first slice of a frame.
            frames += 1
    return frames * size + BYTE * sum(many for _, many in item.extents), units


def _units(video: bytes, length: int) -> Iterator[bytes]:
    """The first bytes of each."""
    at = 0
    while at + length + 3 <= len(video):
        long = int.from_bytes(video[at : at + length], "big")
        at += length
        yield video[at : at + max(min(long, HEAD), 3)]
        at += long


def _size(sequence: bytes) -> float:
    """What a frame costs, by its sequence parameter set (ITU-T H.265, 7.3.2.2)."""
    # After two zeros there is a three in the file, so that nothing looks like a beginning.
    bits = Bits(sequence[2:HEAD].replace(b"\0\0\3", b"\0\0"))

    def number() -> int:
        zeros = 0
        while not bits(1):
            zeros += 1
        return (1 << zeros | bits(zeros)) - 1 if zeros < 32 else 0

    bits(4)
    layers = bits(3)
    bits(1 + 88 + 8)
    told = [bits(2) for _ in range(layers)]
    bits(2 * (8 - layers) if layers else 0)
    for flags in told:
        bits(88 * (flags >> 1) + 8 * (flags & 1))
    number()
    colour = number()
    if colour == 3:
        bits(1)
    width, height = number(), number()
    if bits(1):
        for _ in range(4):
            number()
    depth = 8 + max(number(), number())
    return width * height * (1.0 if colour < 2 else FULL_COLOUR) * (DEEP if depth > 8 else 1.0)
