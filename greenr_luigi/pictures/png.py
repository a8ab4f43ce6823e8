"""A PNG without its trimmings: the chunks that draw, and what the others say of orientation and colour.

Pillow refuses a whole picture for a wrong checksum beside a comment. No browser does, and the standard asks for none of
it (W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", 13.1).
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from greenr_luigi.pictures import colour

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of a text that holds EXIF data, which a JPEG limits to 64 KB.
MAX_TEXT = 2**20
GREY, TRUECOLOUR, INDEXED = 0, 2, 3
#: Before the pixels these are to be right, in other pictures and in those with a palette. What Chromium refuses for a
#: fault in a frame (fcTL) is refused here.
WANTED = ((b"fcTL",), (b"fcTL", b"PLTE"))
#: Chunks that tell of colours.
COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
#: What sRGB may say.
INTENTS = (b"\0", b"\1", b"\2", b"\3")


class Chunk(NamedTuple):
    """`whole`: as the file has it, with length, name and checksum; `sound`: nothing is missing, and the checksum is
    right (that of IDAT is not looked at: its data have one of their own)."""

    name: bytes
    body: memoryview
    whole: memoryview
    sound: bool


def chunks(data: bytes) -> Iterator[Chunk]:
    view, at = memoryview(data), len(SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        whole = view[at : at + 12 + length]
        body = whole[8 : 8 + length]
        sound = name == b"IDAT" or whole[8 + length :] == zlib.crc32(body, zlib.crc32(name)).to_bytes(
            4, "big"
        )
        yield Chunk(name, body, whole, sound)
        at += 12 + length


def without_trimmings(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """The chunks that draw the first picture, and what is told beside it, by Pillow's names: "exif", "icc_profile"; and
    "bits", if each value has 16: how many of them count, or 0 where it is not said."""
    # Where they are if the first chunk is IHDR, as it must be.
    depth, kind = data[24:26].ljust(2, b"\0")
    kept: list[bytes | memoryview] = [SIGNATURE]
    first, info, last = dict[bytes, memoryview](), dict[str, Any](), 0
    for name, body, whole, sound in _shown([*chunks(data)], data[16:24]):
        begun = b"IDAT" in first
        if name in (b"IHDR", b"IDAT") or (name in WANTED[kind == INDEXED] and not begun):
            last = len(kept) if name == b"IDAT" else last
            kept.append(whole)
        elif not sound:
            continue
        elif exif := _exif(name, body.tobytes()):
            info.setdefault("exif", exif)
        elif begun or name in first:
            continue
        elif name == b"tRNS":
            kept.append(_transparency(body.tobytes(), depth, kind, len(first.get(b"PLTE", b"")) // 3))
        elif name == b"acTL" and len(body) >= 8:
            kept.append(whole)
        first.setdefault(name, body)
    if profile := _profile({name: body.tobytes() for name, body in first.items() if name in COLOURS}):
        info["icc_profile"] = profile
    if depth == 16:
        # Who tells of colours, tells them of all 16.
        info["bits"] = 16 if set(COLOURS) & set(first) else max(first.get(b"sBIT") or b"\0")
    if last:
        kept[last : last + 1] = _without_checksum(memoryview(kept[last]))
    return b"".join(kept), info


def _shown(found: list[Chunk], size: bytes) -> list[Chunk]:
    """The chunks of a picture; of an animation that has another one for those who show none (IDAT before the first
    fcTL), these of its first frame, if that is as large (`size`: as in IHDR)."""
    names = [one.name for one in found]
    if not {b"acTL", b"IDAT", b"fcTL", b"fdAT"} <= {*names}:
        return found
    control, drawing, frame = (names.index(name) for name in (b"acTL", b"IDAT", b"fcTL"))
    frames = int.from_bytes(found[control].body[:4], "big")
    if not (control < drawing < frame and frames and found[frame].body[4:20] == size + bytes(8)):
        return found
    last = names.index(b"fcTL", frame + 1) if b"fcTL" in names[frame + 1 :] else len(names)
    body = b"".join(one.body[4:] for one in found[frame:last] if one.name == b"fdAT")
    whole = memoryview(b"".join([struct.pack(">I", len(body)), b"IDAT", body, bytes(4)]))
    found[drawing] = Chunk(b"IDAT", whole[8:-4], whole, True)
    return [one for at, one in enumerate(found) if at == drawing or one.name not in (b"acTL", b"IDAT")]


def _without_checksum(whole: memoryview) -> list[bytes | memoryview]:
    """The last chunk of pixels without the last byte of its data, as parts; as it is where it breaks off. That byte is
    of a checksum, which Chromium does not look at. Without it no decoder can, nor take data that lack rows for whole.
    """
    length = int.from_bytes(whole[:4], "big")
    if len(whole) < 12 + length:
        return [whole]
    length = max(length - 1, 0)
    return [length.to_bytes(4, "big"), whole[4 : 8 + length], bytes(4)]


def _transparency(body: bytes, depth: int, kind: int, entries: int) -> bytes:
    """A tRNS chunk as Pillow compares it, with values of 8 bits, or none if it does not fit the picture."""
    if kind == INDEXED and len(body) <= 256:
        return _chunk(b"tRNS", body[:entries]) if body[:entries] else b""
    if len(body) != {GREY: 2, TRUECOLOUR: 6}.get(kind):
        return b""
    values = struct.unpack(f">{len(body) // 2}H", body)
    if kind == GREY and depth < 8:
        values = tuple(value * 255 // (2**depth - 1) for value in values)
    elif kind == TRUECOLOUR and depth == 16:
        values = tuple(value >> 8 for value in values)
    return _chunk(b"tRNS", struct.pack(f">{len(values)}H", *(min(value, 65535) for value in values)))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _exif(name: bytes, body: bytes) -> bytes | None:
    """EXIF data of a chunk of their own, or in the hexadecimal text that ImageMagick writes."""
    if name == b"eXIf":
        return b"Exif\0\0" + body.removeprefix(b"Exif\0\0")
    if name not in (b"tEXt", b"zTXt") or not body.startswith(b"Raw profile type exif\0"):
        return None
    text: bytes | None = body[22:] if name == b"tEXt" else _inflated(body[22:], MAX_TEXT)
    with contextlib.suppress(ValueError):
        return bytes.fromhex("".join((text or b"").decode("latin-1").split("\n")[3:]))
    return None


def _profile(told: dict[bytes, bytes]) -> bytes | None:
    """The ICC profile that a PNG holds, or one made of what other chunks say."""
    primaries, transfer, matrix, whole = told.get(b"cICP", b"").ljust(4, b"\0")[:4]
    if matrix == 0 and whole and (coded := colour.coded(primaries, transfer)):
        return coded
    packed = told.get(b"iCCP", b"").partition(b"\0")[2]
    profile = _inflated(packed, colour.MAX_PROFILE)
    if profile and profile[36:40] == b"acsp":  # Its signature (ICC.1:2022, 7.2.12).
        return profile
    if told.get(b"sRGB") in INTENTS or len(told.get(b"gAMA", b"")) != 4:
        return None
    gamma = int.from_bytes(told[b"gAMA"], "big") / 100_000
    if len(told.get(b"cHRM", b"")) == 32:
        return colour.profile(gamma, [value / 100_000 for value in struct.unpack(">8I", told[b"cHRM"])])
    return None if abs(gamma / 0.45455 - 1) < 0.05 else colour.profile(gamma)


def _inflated(packed: bytes, most: int) -> bytes | None:
    """What follows the byte that names the method; None if it is another, torn, or more than `most` bytes."""
    unpacker = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        found = unpacker.decompress(packed[1:], most) if packed[:1] == b"\0" else b""
        return found if unpacker.eof else None
    return None
