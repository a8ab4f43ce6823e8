"""A JPEG without its trimmings: the segments that draw, and what the others say of orientation and colour; and whether
one that breaks off has all its rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageChops

from greenr_luigi.pictures import colour

START, END = b"\xff\xd8", b"\xff\xd9"
#: A marker that is neither a stuffed byte nor a restart (ITU T.81, B.1.1).
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: Frames that browsers read, too (Table B.1; bombs.check refuses all others), a scan, the picture's end, and what holds
#: EXIF data and profiles.
BASELINE, EXTENDED, PROGRESSIVE = FRAMES = (0xC0, 0xC1, 0xC2)
SOS, EOI, APP1, APP2 = 0xDA, 0xD9, 0xE1, 0xE2
#: Those of applications, and comments.
TRIMMINGS = {*range(0xE0, 0xF0), 0xFE}
#: Trimmings that decoders tell the colour space by, and their least length.
COLOUR_SPACES = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
#: All 64 coefficients of a block.
EVERY = 2**64 - 1
#: Pixels of a row's end that are looked at.
FLAT = 16
#: Pixels that are compared at a time.
COMPARED = 1_000_000
#: Values that make no smooth surface.
NOISE = bytes.fromhex("b54ad3196ce58a37") * 4
RESTARTS = [bytes([0xFF, number]) for number in range(0xD0, 0xD8)]


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker until the picture's end or the file's, and where its segment begins and ends; two bytes of length
    follow the marker, if anything does."""
    at = len(START)
    while found := MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        # Numbers below are reserved and stand alone: a decoder that looks for a restart passes over them.
        if marker >= BASELINE and marker != EOI:
            at += max(int.from_bytes(data[at : at + 2], "big"), 2)
        yield marker, found.start(), at
        if marker == EOI:
            return


def without_trimmings(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The segments that draw, and what is told beside them, by Pillow's names: "exif", "icc_profile"; and "open" for a
    file that breaks off after the beginning of the last scan that it needs. That one is ended: ask `has_all_rows`."""
    kept, exif, profile = [START], list[bytes](), list[bytes]()
    missing, progressive, scans, marker = dict[int, int](), False, len(data), 0
    for marker, begin, end in segments(data):
        body = data[begin + 4 : end]
        if marker == SOS:
            scans = min(scans, begin)
            _cross_off(missing, body, progressive)
        if scans < len(data):
            continue
        if marker == APP1 and body.startswith(b"Exif\0"):
            exif.append(body[6:])
        elif marker == APP2 and body.startswith(b"ICC_PROFILE\0"):
            profile.append(body[12:])
        elif marker in FRAMES:
            progressive, missing = marker == PROGRESSIVE, dict.fromkeys(body[6::3], EVERY)
        name, least = COLOUR_SPACES.get(marker, (b"", 0))
        if marker not in TRIMMINGS or (name and body.startswith(name) and len(body) >= least):
            kept.append(data[begin:end])
    info: dict[str, Any] = {"exif": b"Exif\0\0" + b"".join(exif)} if exif else {}
    if marker != EOI and scans < len(data) and not any(missing.values()):
        # Half an end marker, or of a stuffed byte.
        kept.append(data[scans:].rstrip(b"\xff") + END)
        info["open"] = True
    else:
        kept.append(data[scans:])
    return b"".join(kept), info | _profile(profile)


def _cross_off(missing: dict[int, int], scan: bytes, progressive: bool) -> None:
    """Note which coefficients of which component a scan brings to their last bit."""
    count = scan[0] if scan else 0
    first, last, bits = (scan[1 + 2 * count : 4 + 2 * count] if progressive else b"\0\x3f\0").ljust(
        3, b"\xff"
    )
    if bits & 15 == 0:
        for component in scan[1 : 1 + 2 * count : 2]:
            missing[component] = missing.get(component, 0) & ~((2 << last) - (1 << first))


def _profile(parts: list[bytes]) -> dict[str, bytes]:
    """An ICC profile in numbered parts, whole or not at all (ICC.1:2022, B.4)."""
    parts.sort()
    numbered = all(part[:2] == bytes([number, len(parts)]) for number, part in enumerate(parts[:255], 1))
    if not parts or len(parts) > 255 or not numbered or sum(map(len, parts)) > colour.MAX_PROFILE:
        return {}
    return {"icc_profile": b"".join(part[2:] for part in parts)}


def ends_flat(image: Image.Image) -> bool:
    """Whether the last row ends in one colour, as it does where libjpeg fills up what is missing."""
    width, height = image.size
    extrema = image.crop((max(width - FLAT, 0), height - 1, width, height)).getextrema()
    return all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else [extrema]))


def has_all_rows(file: bytes, image: Image.Image, at_least: int) -> bool:
    """Whether the pixels of an ended file are all its own. libjpeg fills up what is missing and says nothing; noise in
    its place makes another picture. `image`: as decoded, with `at_least` as in door.decode."""
    scan = file.rfind(bytes([0xFF, SOS]))
    last = [file.rfind(restart, scan) for restart in RESTARTS]
    # The marker that is waited for comes first, or it is taken for one that was lost.
    following = last.index(max(last)) + 1 if max(last) > 0 else 0
    restarts = RESTARTS[following:] + RESTARTS[:following]
    noise = NOISE + b"".join(restart + NOISE for restart in restarts)
    other = Image.open(io.BytesIO(file.removesuffix(END) + noise + END), formats=("JPEG",))
    other.draft("RGB", (at_least, at_least))
    other.load()
    # Part by part: a third and a fourth of the size would not fit.
    step = max(COMPARED // image.width, 1)
    parts = [(0, top, image.width, min(top + step, image.height)) for top in range(0, image.height, step)]
    return not any(ImageChops.difference(image.crop(part), other.crop(part)).getbbox() for part in parts)
