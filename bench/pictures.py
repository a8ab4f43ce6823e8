"""The costliest pictures that the door lets in, each decoded in a process of its own.

`python -m bench.pictures [NAME ...] [--side 224]` prints the table of docs/benchmarks-appendix.md, or the rows named.
`--side` is `at_least` of `open_picture`, 0 for None. CPU is of all threads of the process; memory is by how much its
high-water mark (VmHWM) grew.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, os.fspath(Path(__file__).parent.parent))

from greenr_luigi.pictures import apart, bombs, door
from greenr_luigi.pictures.terms import TAKEN
from tests.pictures import test_colour as colours
from tests.pictures.test_bombs import in_scans
from tests.pictures.test_door import chunk, encoded
from tests.pictures.test_trimmings import EXIF, TURNED

CHANCE = np.random.default_rng(0)
#: 50 megapixels as a square, and as wide as it gets.
SIDE, WIDE, NARROW = 7_071, 65_500, 447


def noise(width: int, height: int, channels: int = 3, most: int = 256) -> Image.Image:
    """Random values below `most`, which repeat after 256 rows."""
    rows = CHANCE.integers(0, most, (256, width, channels), dtype=np.uint8).squeeze()
    return Image.fromarray(np.concatenate([rows] * -(-height // 256))[:height])


def sizes(width: int, height: int, interlaced: bool) -> Iterator[tuple[int, int]]:
    """Of the whole picture, or of Adam7's seven."""
    if not interlaced:
        yield width, height
        return
    for x, y, dx, dy in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        yield -(-(width - x) // dx), -(-(height - y) // dy)


def png(
    width: int,
    height: int,
    depth: int,
    kind: int,
    interlaced: bool = False,
    noisy: float = 0.3,
    filtered: int = 4,
) -> bytes:
    """With Paeth's filter, the slowest, in each row, and noise in so much of it that some 20 MB come of it."""
    parts = []
    for across, down in sizes(width, height, interlaced):
        length = -(-across * depth * bombs.CHANNELS[kind] // 8)
        rows = np.zeros((down, 1 + length), np.uint8)
        many = int(length * noisy)
        rows[:, 1 : 1 + many] = np.resize(CHANCE.integers(0, 4, (64, many), dtype=np.uint8), (down, many))
        rows[:, 0] = filtered
        parts.append(rows.tobytes())
    made = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)),
    ]
    made.append(chunk(b"eXIf", TURNED[6:]))
    if kind == 3:
        made += [chunk(b"PLTE", bytes(range(256)) * 3), chunk(b"tRNS", bytes(range(256)))]
    return b"".join([*made, chunk(b"IDAT", zlib.compress(b"".join(parts), 1)), chunk(b"IEND")])


def jpeg(width: int, height: int, mode: str = "RGB", most: int = 50, **how: Any) -> bytes:
    image = noise(width, height, len(mode), most)
    if mode == "CMYK":
        image = Image.frombytes("CMYK", image.size, image.tobytes())
    return encoded(image, "JPEG", exif=EXIF, **{"quality": 75, "subsampling": 0} | how)


def avif(width: int, height: int, channels: int = 3, most: int = 256, **how: Any) -> bytes:
    return encoded(noise(width, height, channels, most), "AVIF", speed=10, exif=EXIF, **how)


def tiff(width: int, height: int, mode: str, packed: str, most: int = 4, **how: Any) -> bytes:
    """With noise below `most`, all in one strip, as that takes the most memory, and turned."""
    image = noise(width, height, len(mode), most)
    image = image if image.mode == mode else Image.frombytes(mode, image.size, image.tobytes())
    return encoded(image, "TIFF", compression=packed, strip_size=2**31 - 1, tiffinfo={0x112: 6}, **how)


def heic(width: int, height: int, most: int = 256, **how: Any) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    file = pillow_heif.from_pillow(
        noise(width // 4, height // 4, 3, most).resize((width, height), Image.Resampling.NEAREST)
    )
    file.save(buffer, **{"enc_params": {"preset": "ultrafast"}} | how)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG, 50 MP of noise": lambda: jpeg(SIDE, SIDE, most=60),
    "JPEG, 65,500 x 447 of noise, turned": lambda: jpeg(WIDE, NARROW, most=70),
    "JPEG, the same in CMYK": lambda: jpeg(WIDE, NARROW, "CMYK", most=36, quality=70),
    "JPEG, the same with a printer's profile": lambda: jpeg(
        WIDE, NARROW, "CMYK", most=36, quality=70, icc_profile=colours.printer()
    ),
    "JPEG, a restart after each block": lambda: jpeg(SIDE, SIDE, most=2, restart_marker_blocks=1),
    "JPEG in scans, 50 MP in 4:2:0": lambda: jpeg(SIDE, SIDE, most=60, progressive=True, subsampling=2),
    "JPEG in scans, 28 MP in 4:4:4": lambda: jpeg(5_310, 5_310, most=60, progressive=True),
    "JPEG in scans, 21 MP in CMYK": lambda: jpeg(4_600, 4_600, "CMYK", most=50, progressive=True),
    "JPEG in scans, 63,200 x 447": lambda: jpeg(63_200, NARROW, most=50, progressive=True),
    "JPEG in scans that say nothing, 28 MP": lambda: in_scans(5_310, 5_310, 3, 12),
    "JPEG in 100 of them, 3.8 MP": lambda: in_scans(1_950, 1_950, 3, 99),
    "JPEG in 100 for one coefficient, 12 MP": lambda: in_scans(3_500, 3_500, 3, 99, band=(1, 1)),
    "JPEG in scans without an end, 18 MP": lambda: jpeg(4_200, 4_200, most=60, progressive=True)[:-2],
    "JPEG without an end, 50 MP": lambda: jpeg(SIDE, SIDE, most=60)[:-2],
    "JPEG without an end, 17,000 x 447": lambda: jpeg(17_000, NARROW, most=70)[:-2],
    "PNG, RGBA, turned": lambda: png(6_080, 6_080, 8, 6, noisy=0),
    "PNG, RGBA, interlaced": lambda: png(5_550, 5_550, 8, 6, interlaced=True, noisy=0),
    "PNG, RGBA, 83,000 x 447": lambda: png(83_000, NARROW, 8, 6, noisy=0),
    "PNG, RGB": lambda: png(SIDE, SIDE, 8, 2, noisy=0.1),
    "PNG, RGB, 20 MB of 23 MP": lambda: png(4_800, 4_800, 8, 2, noisy=0.82),
    "PNG, RGBA of 16 bits, interlaced": lambda: png(4_310, 4_310, 16, 6, interlaced=True, noisy=0),
    "PNG, grey of 16 bits, interlaced": lambda: png(SIDE, SIDE, 16, 0, noisy=0.16, interlaced=True),
    "PNG, grey of 16 bits, 111,803 x 447": lambda: png(111_803, NARROW, 16, 0, noisy=0.42),
    "PNG, grey and alpha": lambda: png(SIDE, SIDE, 8, 4, noisy=0.16),
    "PNG, grey and alpha, interlaced": lambda: png(6_470, 6_470, 8, 4, noisy=0.1, interlaced=True),
    "PNG, palette with transparency, interlaced": lambda: png(SIDE, SIDE, 8, 3, noisy=0.33, interlaced=True),
    "PNG, palette with transparency": lambda: png(SIDE, SIDE, 8, 3, noisy=0.85),
    "PNG, 1 bit, interlaced": lambda: png(SIDE, SIDE, 1, 0, interlaced=True, noisy=1),
    "GIF of noise, interlaced": lambda: encoded(noise(SIDE, SIDE, 1, 4), "GIF", interlace=1, transparency=0),
    "GIF, 65,500 x 763": lambda: encoded(noise(WIDE, 763, 1, 3), "GIF", transparency=0),
    "BMP of 8 bits": lambda: encoded(noise(4_550, 4_550, 1), "BMP"),
    "BMP of 4 bits a colour and alpha": lambda: colours.in_fields(
        noise(3_230, 3_230), *colours.FIELDS["4444"]
    ),
    "BMP of 1 bit": lambda: encoded(Image.new("1", (SIDE, SIDE)), "BMP"),
    "WebP of noise": lambda: encoded(noise(4_000, 4_000), "WEBP", quality=75, method=0, exif=EXIF),
    "WebP of noise, half clear": lambda: encoded(
        noise(4_000, 4_000, 4, 100), "WEBP", quality=50, method=0, exif=EXIF
    ),
    "WebP, lossless": lambda: encoded(noise(4_000, 4_000, 3, 6), "WEBP", lossless=True, method=0, quality=0),
    "AVIF of noise, 4:2:0": lambda: avif(4_600, 4_600, quality=42),
    "AVIF of noise, 4:4:4": lambda: avif(3_700, 3_700, quality=46, subsampling="4:4:4"),
    "AVIF of noise, half clear": lambda: avif(3_100, 3_100, 4, quality=46),
    "AVIF of little, 4:2:0": lambda: avif(4_990, 4_990, most=3, quality=20),
    "HEIC of noise, 4:2:0, 17 MP": lambda: heic(4_800, 3_600, quality=50),
    "HEIC of noise, 4:4:4, 6 MP": lambda: heic(2_800, 2_800, quality=60, chroma=444),
    "HEIC of little, 24 MP": lambda: heic(5_700, 4_280, most=1, quality=10),
    "TIFF of little, RGB, LZW": lambda: tiff(5_970, 5_970, "RGB", "tiff_lzw", most=1),
    "TIFF of little, RGBA, Deflate": lambda: tiff(5_590, 5_590, "RGBA", "tiff_adobe_deflate", most=1),
    "TIFF of little, RGB, JPEG": lambda: tiff(5_970, 5_970, "RGB", "jpeg", most=1),
    "TIFF of little, inks, PackBits": lambda: tiff(5_500, 5_500, "CMYK", "packbits", most=1),
    "TIFF, grey, LZW, 50 MP": lambda: tiff(SIDE, SIDE, "L", "tiff_lzw", most=3),
    "TIFF, 1 bit, Group 4": lambda: encoded(noise(SIDE, 2_500, 1).convert("1"), "TIFF", compression="group4"),
}


def measure(data: bytes, side: int) -> dict[str, Any]:
    """Decode one picture here."""
    door.open_picture(encoded(Image.new("RGB", (64, 64)), "PNG"), 32)
    began = time.process_time()
    Path("/proc/self/clear_refs").write_text("5")
    least = high_water()
    refused = ""
    try:
        door.square(door.open_picture(data, side or door.MAX_PIXELS, terms=TAKEN), 224)
    except door.UnusablePicture as error:
        refused = str(error)
    spent, held = time.process_time() - began, high_water() - least
    for decoder in apart.DECODERS.idle:  # All of it counts, as it is there for pictures alone.
        ticks = Path(f"/proc/{decoder.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        spent += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        held += high_water(str(decoder.process.pid))
    return {"seconds": spent, "memory": held, "refused": refused}


def high_water(process: str = "self") -> int:
    """The most bytes that were resident."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=FILES)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one.read_bytes(), options.side)))
        return
    print("| file | MB | CPU, s | memory, MB |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        for name in options.names:
            path.write_bytes(FILES[name]())
            command = [sys.executable, "-m", "bench.pictures", "--one", path, "--side", str(options.side)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            taken = found["refused"] or f"{found['seconds']:.2f} | {found['memory'] / 1e6:.0f}"
            print(f"| {name} | {path.stat().st_size / 1e6:.2f} | {taken} |", flush=True)


if __name__ == "__main__":
    main()
