"""What of a picture file draws, and what is told beside it: a fault in the second is no reason to refuse the first.

Pillow gets the drawing alone. What counts of the rest, orientation and colour profile, is read apart, and is none where
it is torn.
"""

from __future__ import annotations

import io
import re
import struct
from typing import Any

from greenr_luigi.pictures import avif, bmp, colour, jpeg, png, tiff
from greenr_luigi.pictures.bombs import Counted

#: Chunks of a WebP that draw; "VP8X" comes first, and says which others there are.
WEBP_DRAWING = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
#: In VP8X: there is a profile, EXIF, XMP; there are frames, and what is clear.
WEBP_PROFILE, WEBP_TRIMMINGS, WEBP_ANIMATION, WEBP_ALPHA = 0x20, 0x20 | 0x08 | 0x04, 0x02, 0x10
#: An entry of EXIF data among an AVIF's items (ISO/IEC 23008-12, A.2.1). What turns it are properties of their own.
AVIF_EXIF = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)


def without_trimmings(data: bytes, kind: str) -> tuple[bytes, dict[str, Any]]:
    """A file that draws the same, and what was told beside it: additions to Pillow's `info`. `kind`: of kinds.FORMATS.

    Raises OSError for one of too many parts, or that lacks some of what draws it."""
    if kind == "PNG":
        return png.without_trimmings(data)
    if kind == "JPEG":
        return jpeg.without_trimmings(data)
    if kind == "TIFF":
        return tiff.without_trimmings(data)
    if kind == "WEBP":
        return _webp(data)
    if kind == "AVIF":
        profile = colour.coded(*numbers) if (numbers := avif.colours(data)) else None
        return AVIF_EXIF.sub(rb"\1free", data), {"icc_profile": profile} if profile else {}
    return bmp.without_trimmings(data) if kind == "BMP" else (_gif(data), {})


def _webp(data: bytes) -> tuple[bytes, dict[str, Any]]:
    file, kept, told, flags = Counted(data), list[bytes](), dict[bytes, bytes](), 0
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        body = file.read(length + length % 2)
        if name == b"VP8X" and body:
            flags = body[0]
            # What the first frame of an animation leaves of its canvas is clear, whatever the frame is.
            kept_flags = flags & ~WEBP_TRIMMINGS | (WEBP_ALPHA if flags & WEBP_ANIMATION else 0)
            body = bytes([kept_flags]) + body[1:]
        if name in WEBP_DRAWING:
            if len(body) < length:
                raise OSError("truncated")  # Its decoder would not say why.
            kept += [head, body]
        if name in (b"EXIF", b"ICCP"):
            told.setdefault(name, body[:length])
    info = {"exif": told[b"EXIF"]} if b"EXIF" in told else {}
    if b"ICCP" in told and flags & WEBP_PROFILE:
        info["icc_profile"] = told[b"ICCP"]
    return b"".join([b"RIFF", struct.pack("<I", sum(map(len, kept)) + 4), b"WEBP", *kept]), info


def _gif(data: bytes) -> bytes:
    """Without the extensions before the first picture but the one that tells its transparency."""
    file = Counted(data)
    flags = data[10] if len(data) > 10 else 0
    kept = [file.read(13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))]
    while (mark := file.read(2))[:1] == b"!":
        begin = file.tell() - 2
        while (size := file.read(1)) > b"\0":
            file.seek(size[0], io.SEEK_CUR)
        if mark[1:] == b"\xf9":
            kept.append(data[begin : file.tell()])
    return b"".join([*kept, mark, file.read()])
