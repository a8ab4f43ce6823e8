"""Files that are small and would take a decoder for ever: what decoding one costs, told before it is decoded.

A file of 3 MB held a decoder for minutes with 40,000 scans of a few bytes each, and others for seconds with a million
empty parts (Cohn-Gordon and Turner, "Two Issues with the JPEG Standard", 2015, has the first). Real ones have some ten
scans and a few hundred parts. docs/benchmarks.md says what the costliest files within these limits take.
"""

from __future__ import annotations

import io
import struct

from greenr_luigi.pictures import avif, jpeg, png
from greenr_luigi.pictures.jpeg import APP1, EOI, FRAMES, PROGRESSIVE, SOS
from greenr_luigi.pictures.unusable import broken, too_large, unread

#: Segments of a JPEG, chunks of a PNG, blocks of a GIF. Encoders write a PNG in chunks of 8 KB or more: 2,500 in 20 MB.
MAX_PARTS = 25_000
#: How often a file may be read from: up to four times a part, and once for each byte that belongs to none.
MAX_READS = 4 * MAX_PARTS
#: Scans of a JPEG: each is a pass over the whole picture, whatever little it holds.
MAX_SCANS = 100
#: Coefficients of a JPEG in several scans: all are held until the last scan, in 2 bytes each. Enough for 50 megapixels
#: as cameras sample colour (4:2:0), 28 as 4:4:4, 21 in CMYK.
MAX_COEFFICIENTS = 85_000_000
#: Coefficients that all scans together go over. The ten scans that libjpeg writes go over 6 (4:2:0) to 9 (4:4:4) times
#: as many as there are pixels.
MAX_VISITS = 400_000_000
#: A scan for one of a block's 64 coefficients takes as long as one for so many.
BLOCK_VISIT = 20
#: Segments of EXIF data in a JPEG: each is added to a copy of those before it.
MAX_EXIF_SEGMENTS = 16
#: Compressed texts and profiles of a PNG, each of which may unpack to a megabyte.
MAX_PACKED_CHUNKS = 50
#: Bytes of a PNG's rows, unpacked, and to unpack one of the file's takes as long as so many: 50 megapixels in 6 MB, 23
#: in 20 MB; with transparency, 37 of a drawing, interlaced 31.
MAX_ROWS, PACKED_BYTE = 190_000_000, 6

#: The frames of ITU T.81, Table B.1, that browsers do not read.
UNREAD_FRAMES = dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic-coded") | {
    0xC3: "lossless", 0xF7: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical"
}  # fmt: skip
#: What may stand before a JPEG's first scan: frames, Huffman and quantization tables, restarts, APPn, comments.
SEGMENTS = {*FRAMES, 0xC4, SOS, 0xDB, 0xDC, 0xDD, *jpeg.TRIMMINGS}
#: Values of a pixel by a PNG's colour type.
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
WITH_ALPHA = (4, 6)


class Counted(io.BytesIO):
    """Bytes that may be read from only MAX_READS times; then OSError."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise OSError(f"it has more than {MAX_PARTS:,} parts")
        return super().read(size)


def check(data: bytes) -> None:
    """Raises UnusablePicture for a JPEG, PNG or AVIF that would cost too much, and a JPEG that no browser reads."""
    if data.startswith(jpeg.START):
        _jpeg(data)
    elif data.startswith(png.SIGNATURE):
        _png(data)
    elif data[4:8] == b"ftyp":
        avif.check(data)


def _jpeg(data: bytes) -> None:
    scans, exif, visits = 0, 0, 0
    frame, components, progressive = dict[int, int](), 0, False
    for count, (marker, begin, _) in enumerate(jpeg.segments(data)):
        body = data[begin + 4 : begin + 62]
        if count > MAX_PARTS:
            raise broken(f"it has more than {MAX_PARTS:,} parts")
        kind = UNREAD_FRAMES.get(marker)
        if marker in FRAMES and body and body[0] != 8:
            kind = f"of {body[0]} bits a value"
        if kind:
            raise unread(
                f"this JPEG is {kind}, which browsers do not read either: save it as an ordinary one"
            )
        if not scans and marker not in SEGMENTS:
            raise broken(f"its part {marker:02X} is none of a JPEG")
        if marker == EOI:
            return
        if marker in FRAMES:
            frame, progressive = coefficients(body), marker == PROGRESSIVE
            # Two may have the same number.
            components = body[5] if len(body) > 5 else 0
        elif marker == SOS:
            scans += 1
            named = body[1 : 1 + 2 * body[0] : 2] if body else b""
            if scans == 1 and not progressive and len(named) == components:
                frame = {}  # Decoded as it comes, and nothing after this scan.
            if sum(frame.values()) > MAX_COEFFICIENTS:
                raise too_large(
                    f"the picture comes in scans and has {sum(frame.values()):,} values", MAX_COEFFICIENTS
                )
            first, last = body[1 + 2 * len(named) : 3 + 2 * len(named)].ljust(2, b"\0")
            visited = min(max(last - first + 1, BLOCK_VISIT), 64) if progressive else 64
            visits += sum(frame.get(component, 0) for component in named) * visited // 64
            if visits > MAX_VISITS or scans > MAX_SCANS:
                raise broken(f"it has {scans} scans, too many for its size")
        elif marker == APP1 and body.startswith(b"Exif\0"):
            exif += 1
            if exif > MAX_EXIF_SEGMENTS:
                raise broken(f"it has more than {MAX_EXIF_SEGMENTS} segments of EXIF data")
    if visits > MAX_VISITS * 2 // 5:  # Without an end it is decoded twice (jpeg.has_all_rows).
        raise broken(f"it has {scans} scans and no end, too many for its size")


def coefficients(frame: bytes) -> dict[int, int]:
    """How many coefficients each component of a JPEG's frame has, by its number (ITU T.81, A.2.4 and B.2.2)."""
    if len(frame) < 6:
        return {}
    height, width, count = struct.unpack_from(">HHB", frame, 1)
    components = [(frame[at], frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, len(frame) - 1, 3)][
        :count
    ]
    unit_width = 8 * max([1, *(h for _, h, _ in components)])
    unit_height = 8 * max([1, *(v for _, _, v in components)])
    units = -(-width // unit_width) * -(-height // unit_height)
    found: dict[int, int] = {}
    for number, h, v in components:
        found[number] = found.get(number, 0) + 64 * units * h * v
    return found


def _png(data: bytes) -> None:
    at, packed, rows, size, clear = len(png.SIGNATURE), 0, 0, "", 0
    for _ in range(MAX_PARTS):
        if at + 21 > len(data):
            return
        length, name, width, height, depth, kind, interlaced = struct.unpack_from(">I4sIIBBxxB", data, at)
        if name == b"IHDR":
            size = f"{width} x {height}"
            # A pixel that comes out of turn, or with transparency, takes as long as one of a byte more.
            more = interlaced + (kind in WITH_ALPHA)
            rows = (-(-width * depth * CHANNELS.get(kind, 4) // 8) + width * more) * height
            # What a colour that is clear adds: it makes the picture one with transparency.
            clear = {png.TRUECOLOUR: rows * 2 // 3, png.INDEXED: width * height}.get(kind, 0)
        elif name == b"tRNS":
            rows, clear = rows + clear, 0
        if rows > (most := MAX_ROWS - PACKED_BYTE * len(data)):
            raise too_large(f"the picture has {size} pixels, {rows:,} bytes once it is unpacked", most)
        packed += name in (b"zTXt", b"iTXt", b"iCCP")
        if packed > MAX_PACKED_CHUNKS:
            raise broken(f"it has more than {MAX_PACKED_CHUNKS} compressed texts and profiles")
        at += 12 + length
    raise broken(f"it has more than {MAX_PARTS:,} parts")
