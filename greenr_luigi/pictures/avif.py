"""What decoding an AVIF costs, told by its boxes (ISO/IEC 14496-12, 23008-12) and its video data (AV1, 5.3 to 5.9).

The size that it says of itself binds no decoder: a picture may be made of any number of parts, each of many frames,
each of another size. 13 frames of 12 megapixels, of which one is shown, fit into 240 KB, and a thousand into 20 MB.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator

from greenr_luigi.pictures import colour
from greenr_luigi.pictures.unusable import broken, too_large

#: Pixels of all frames, and bytes of them, which take as long as so many pixels each: 24 megapixels as cameras sample
#: colour (4:2:0) in 4 MB, 12 in 12 MB.
MAX_COST, BYTE = 30_000_000, 1.4
#: What a pixel costs by AV1's profile: of 4:2:0, 4:4:4, and all others.
PROFILES = (1.0, 1.6, 1.6)
#: Boxes, items, extents, and units of AV1 data: most files have some twenty, and a grid of tiles some hundred.
MAX_PARTS = 5_000
#: Brands of movies, and of pictures alone.
STILL = {b"avis": b"avif", b"msf1": b"mif1", b"hevc": b"heic", b"hevx": b"heix"}
#: Kinds of units in AV1 data.
SEQUENCE, FRAME_HEADER, FRAME = 1, 3, 6


class Bits:
    """Big-endian bits of some bytes; IndexError at their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __call__(self, count: int) -> int:
        value = 0
        for at in range(self.at, self.at + count):
            value = value << 1 | self.data[at >> 3] >> (7 - (at & 7)) & 1
        self.at += count
        return value


def check(data: bytes) -> None:
    """Raises UnusablePicture for an AVIF that would cost too much, or whose boxes cannot be read."""
    try:
        cost = sum(
            _cost(data, start, end) for name, start, end in boxes(data, 0, len(data)) if name == b"meta"
        )
    except (struct.error, IndexError):
        raise broken("its boxes are damaged or cut off") from None
    if cost > MAX_COST:
        raise too_large(f"to decode the picture costs as much as {cost:,.0f} pixels", MAX_COST)


def colours(data: bytes) -> tuple[int, int] | None:
    """The numbers of its primaries and its transfer function (ITU-T H.273), where no ICC profile tells of them. For
    that of video it is sRGB's, as browsers show it."""
    start, end = 0, len(data)
    with contextlib.suppress(StopIteration, struct.error, IndexError):
        for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
            inside = boxes(data, start, end)
            start, end = next((first + skipped, last) for found, first, last in inside if found == name)
        told = {data[at : at + 4]: at + 4 for name, at, _ in boxes(data, start, end) if name == b"colr"}
        if [*told] == [b"nclx"]:
            primaries, transfer = struct.unpack_from(">HH", data, told[b"nclx"])
            return primaries, colour.OF_SRGB if transfer in colour.OF_VIDEO else transfer
    return None


def still(data: bytes) -> bytes:
    """The same file without its movie, of which a decoder would take the first frame in place of the picture."""
    for name, start, end in boxes(data, 0, len(data)):
        if name == b"ftyp":
            brands = re.sub(rb"avis|msf1|hev[cx]", lambda found: STILL[found[0]], data[start:end])
            data = data[:start] + brands + data[end:]
        elif name == b"moov":
            data = data[: start - 4] + b"free" + data[start:]
    return data


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box, and where what it holds begins and ends."""
    for _ in range(MAX_PARTS):
        if start + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:
            length, head = *struct.unpack_from(">Q", data, start + 8), 16
        length = length or end - start
        if length < head:
            raise IndexError("a box that is shorter than its head")
        yield name, start + head, min(start + length, end)
        start += length


def _cost(data: bytes, start: int, end: int) -> float:
    """Of all pictures in a meta box."""
    inside = {name: (first, last) for name, first, last in boxes(data, start + 4, end)}
    if not {b"iinf", b"iloc"} <= inside.keys():
        return 0.0
    kinds = dict(kinds_of_items(data, *inside[b"iinf"]))
    cost, size, parts = 0.0, 0.0, 0
    for item, extents in item_extents(data, inside[b"iloc"][0], inside.get(b"idat", (0, 0))[0]):
        if kinds.get(item) != b"av01":
            continue
        cost += BYTE * sum(length for _, length in extents)
        if cost > MAX_COST:
            break
        # Tiles of a grid are decoded one after the other, and those without a size have that of the last one.
        for kind, body in _units(b"".join(data[at : at + length] for at, length in extents)):
            parts += 1
            if parts > MAX_PARTS:
                raise broken(f"it has more than {MAX_PARTS:,} parts")
            if kind == SEQUENCE:
                size = max(size, _size(body))
            elif kind in (FRAME_HEADER, FRAME):
                cost += size
    return cost


def kinds_of_items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The number and kind of each item."""
    for name, at, _ in boxes(data, start + (6 if data[start] == 0 else 8), end):
        if name == b"infe" and data[at] >= 2:
            yield struct.unpack_from(">H2x4s" if data[at] == 2 else ">I2x4s", data, at + 4)


def item_extents(data: bytes, at: int, idat: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """The number of each item, and where its parts begin and how long they are."""
    version, sizes = data[at], int.from_bytes(data[at + 4 : at + 6], "big")
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise IndexError("a number beyond the end")
        return int.from_bytes(data[at - size : at], "big")

    wide = 4 if version == 2 else 2
    parts = 0
    for _ in range(number(wide)):
        item, inside = number(wide), number(2) & 15 if version else 0
        number(2)
        base = number(sizes >> 4 & 15) + (idat if inside == 1 else 0)
        extents = []
        for _ in range(number(2)):
            number(sizes & 15 if version else 0)
            first = base + number(sizes >> 12)
            extents.append((first, number(sizes >> 8 & 15) or len(data) - first))
        parts += 1 + len(extents)
        if parts > MAX_PARTS:
            raise broken(f"it has more than {MAX_PARTS:,} parts")
        yield item, extents


def _units(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kind of each unit of AV1 data (open bitstream unit), and its first bytes."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1
        length = len(data) - at
        if head & 2:
            length = 0
            for shift in range(0, 56, 7):
                length |= (data[at] & 127) << shift
                at += 1
                if data[at - 1] < 128:
                    break
        yield head >> 3 & 15, data[at : at + min(length, 400)]
        at += length


def _size(sequence: bytes) -> float:
    """What a frame costs, by the largest size that a sequence header allows."""
    bits = Bits(sequence)
    profile, _, reduced = bits(3), bits(1), bits(1)
    if reduced:
        bits(5)
    else:
        delay = 0
        if bits(1):  # Timing.
            bits(64)
            if bits(1):
                zeros = 0
                while not bits(1):
                    zeros += 1
                bits(zeros if zeros < 32 else 0)
            if bits(1):  # A model of the decoder.
                delay = bits(5) + 1
                bits(42)
        delayed = bits(1)
        for _ in range(bits(5) + 1):
            bits(12)
            if bits(5) > 7:
                bits(1)
            if delay and bits(1):
                bits(2 * delay + 1)
            if delayed and bits(1):
                bits(4)
    across, down = bits(4) + 1, bits(4) + 1
    return PROFILES[min(profile, 2)] * (bits(across) + 1) * (bits(down) + 1)
