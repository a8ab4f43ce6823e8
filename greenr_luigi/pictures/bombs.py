"""Files that are small and would take a decoder for ever: how many parts one may have, counted before it is decoded.

A file of 3 MB held a decoder for minutes with 40,000 scans of a few bytes each, and others for seconds with a million
empty parts (Cohn-Gordon and Turner, "Two Issues with the JPEG Standard", 2015, has the first). Real ones have some ten
scans and a few hundred parts.
"""

from __future__ import annotations

import re
import struct

#: Scans of a progressive JPEG: each is a pass over the whole picture, whatever little it holds.
MAX_SCANS = 100
#: Marker segments of a JPEG outside of its scans, and blocks of a GIF before its first picture.
MAX_SEGMENTS = 2_000
#: Chunks of a PNG; encoders write the pixels in chunks of 8 KB and more.
MAX_CHUNKS = 20_000
#: The end of a scan's data: a marker that is neither a stuffed byte nor a restart (ITU T.81, B.1.1).
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG, PNG, GIF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a")


def excess(data: bytes) -> str | None:
    """What of a JPEG, PNG or GIF is too many, in words; None for what may be decoded, and for other formats."""
    if data.startswith(JPEG):
        return _jpeg(data)
    if data.startswith(PNG):
        return _png(data)
    return _gif(data) if data.startswith(GIF) else None


def _jpeg(data: bytes) -> str | None:
    at, segments, scans = 2, 0, 0
    while found := MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return None
        segments += 1
        scans += marker == 0xDA
        if scans > MAX_SCANS:
            return f"it has more than {MAX_SCANS} scans"
        if segments - scans > MAX_SEGMENTS:
            return f"it has more than {MAX_SEGMENTS:,} segments"
        # 01 stands alone; all others say how long they are.
        if marker != 0x01:
            at += int.from_bytes(data[at : at + 2], "big")
    return None


def _png(data: bytes) -> str | None:
    at = len(PNG)
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return None
        (length,) = struct.unpack_from(">I", data, at)
        at += 12 + length
    return f"it has more than {MAX_CHUNKS:,} chunks"


def _gif(data: bytes) -> str | None:
    """Before its first picture; no other is decoded."""
    if len(data) < 13:
        return None
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    blocks = 0
    while data[at : at + 1] == b"!":
        at += 2
        while at < len(data) and data[at]:
            at += 1 + data[at]
            blocks += 1
            if blocks > MAX_SEGMENTS:
                return f"it has more than {MAX_SEGMENTS:,} blocks before its picture"
        at += 1
    return None
