"""Whole pictures come in, whatever is wrong beside their pixels; and those that lack pixels do not."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from greenr_luigi.pictures import bombs, door
from tests.pictures import WHOLE
from tests.pictures.test_bombs import segment
from tests.pictures.test_door import chunk, drawn, encoded, png, refusal

GARBAGE = bytes(range(7, 250)) * 4
EXIF = Image.Exif()
EXIF[0x0112] = 6
TURNED = EXIF.tobytes()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(door.open_picture(data, WHOLE))


def png_with(before: bytes = b"", after: bytes = b"", mode: str = "RGB") -> bytes:
    """`before`, `after`: chunks, as they stand to the pixels."""
    data = encoded(drawn(mode), "PNG")
    pixels_at = data.index(b"IDAT") - 4
    return data[:pixels_at] + before + data[pixels_at:-12] + after + data[-12:]


def text_of(exif: bytes) -> bytes:
    """As ImageMagick writes EXIF data."""
    return b"Raw profile type exif\0" + b"\nexif\n%8d\n" % len(exif) + exif.hex().encode() + b"\n"


LONG = zlib.compress(bytes(5 * 2**20))
CHUNKS = {
    **{
        f"checksum of {name.decode()}": chunk(name, body, 12345)
        for name, body in {
            b"pHYs": bytes(9), b"bKGD": bytes(6), b"zTXt": b"k\0\0" + zlib.compress(b"x"), b"tEXt": b"k\0v",
            b"iTXt": b"k\0\0\0\0\0v", b"iCCP": b"k\0\0" + zlib.compress(b"x"), b"cHRM": bytes(32), b"gAMA": bytes(4),
            b"sRGB": b"\0", b"tIME": bytes(7), b"sBIT": bytes(3), b"hIST": bytes(2), b"sPLT": b"k\0\x08",
            b"eXIf": TURNED[6:], b"tRNS": bytes(6), b"acTL": b"\0\0\0\1\0\0\0\0", b"abCd": GARBAGE,
        }.items()
    },
    **{f"{name.decode()} of one byte": chunk(name, b"k") for name in (
        b"pHYs", b"bKGD", b"cHRM", b"gAMA", b"tIME", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"acTL")},
    **{f"empty {name.decode()}": chunk(name) for name in (b"sRGB", b"iCCP", b"eXIf", b"tEXt", b"sBIT")},
    "method of zTXt": chunk(b"zTXt", b"k\0\7" + zlib.compress(b"x")),
    "method of iCCP": chunk(b"iCCP", b"k\0\7" + zlib.compress(b"x")),
    "long zTXt": chunk(b"zTXt", b"k\0\0" + LONG),
    "long iTXt": chunk(b"iTXt", b"k\0\1\0\0\0" + LONG),
    "long iCCP": chunk(b"iCCP", b"k\0\0" + LONG),
    "torn iCCP": chunk(b"iCCP", b"k\0\0" + GARBAGE),
    "garbage in eXIf": chunk(b"eXIf", GARBAGE),
    "text that is no EXIF": chunk(b"tEXt", b"Raw profile type exif\0nonsense\n\n\n\nxyz"),
    "text of garbage": chunk(b"tEXt", text_of(GARBAGE)),
    "palette in colours": chunk(b"PLTE", bytes(31)),
    "long tRNS": chunk(b"tRNS", bytes(12)),
    "two of a kind": chunk(b"pHYs", bytes(9)) * 2,
}  # fmt: skip


@pytest.mark.parametrize("name", CHUNKS)
def test_a_png_is_not_refused_for_what_does_not_draw(name: str) -> None:
    whole = pixels(png_with())
    assert (pixels(png_with(before=CHUNKS[name])) == whole).all()
    assert (pixels(png_with(after=CHUNKS[name])) == whole).all()


@pytest.mark.parametrize("lost", [1, 4, 6, 11, 12, 14, 16])
def test_a_png_without_its_end_is_whole(lost: int) -> None:
    """Of twelve bytes of IEND, and four of the pixels' checksum."""
    assert (pixels(png_with()[:-lost]) == pixels(png_with())).all()


def pixels_of(data: bytes) -> bytes:
    """A PNG of `drawn` with other data of its pixels."""
    return png(96, 64, chunk(b"IDAT", data))


def test_a_png_s_pixels_are_whole_by_their_rows_and_not_by_their_checksum() -> None:
    for image in (drawn(), Image.new("RGB", (96, 64), "red")):
        rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(image))
        wrong = zlib.compress(rows)[:-4] + b"abcd"
        for data in (zlib.compress(rows), zlib.compress(rows) + b"more", wrong):
            assert (pixels(pixels_of(data)) == np.asarray(image)).all()
    for lost in (1, 96 * 3, 96 * 3 + 1, len(rows) // 2):
        assert refusal(pixels_of(zlib.compress(rows[:-lost]))) == "broken", lost


def test_a_palette_s_transparency_holds_once_and_behind_it() -> None:
    data = png_with(mode="P")
    clear, twice = chunk(b"tRNS", bytes(3)), chunk(b"tRNS", bytes(1))
    at = data.index(b"PLTE") - 4
    assert (pixels(data[:at] + clear + data[at:]) == pixels(data)).all()
    assert (pixels(png_with(clear + twice, mode="P")) == pixels(png_with(clear, mode="P"))).all()


@pytest.mark.parametrize("shown", [True, False])
def test_of_an_animation_that_has_another_picture_for_those_who_show_none_the_first_frame_counts(
    shown: bool,
) -> None:
    fallback, *frames = (
        zlib.compress(b"".join(b"\0" + bytes(row) for row in np.full((64, 96 * 3), value, np.uint8)))
        for value in (10, 200, 90)
    )
    size = (96, 64) if shown else (48, 32)
    data = png(96, 64, chunk(b"acTL", struct.pack(">II", 2, 0)), chunk(b"IDAT", fallback), *(
        chunk(name, struct.pack(">I", 3 * number + place) + body)
        for number, frame in enumerate(frames)
        for place, (name, body) in enumerate([
            (b"fcTL", struct.pack(">4I6x", *size, 0, 0)), (b"fdAT", frame[:40]), (b"fdAT", frame[40:])
        ])
    ))  # fmt: skip
    assert (pixels(data) == (200 if shown else 10)).all()


@pytest.mark.parametrize("body", [bytes(25), bytes(26), struct.pack(">5I", 0, 900, 900, 0, 0) + bytes(6)])
def test_an_animation_whose_first_frame_is_damaged_is_refused(body: bytes) -> None:
    """As Chromium does."""
    assert refusal(png_with(chunk(b"acTL", b"\0\0\0\1\0\0\0\0") + chunk(b"fcTL", body))) in (
        "broken",
        "format",
    )


def test_orientation_comes_from_exif_alone() -> None:
    tall, xmp = (64, 96), b'<x tiff:Orientation="6"/>'
    for told in (chunk(b"eXIf", TURNED[6:]), chunk(b"tEXt", text_of(TURNED)), chunk(b"eXIf", TURNED)):
        for data in (png_with(told), png_with(after=told)):
            assert door.open_picture(data, WHOLE).size == tall
    for kind in ("JPEG", "WEBP", "AVIF"):
        assert door.open_picture(encoded(drawn(), kind, exif=EXIF), WHOLE).size == tall
    for other in (
        png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)),
        encoded(drawn(), "JPEG", xmp=xmp),
        encoded(drawn(), "WEBP", xmp=xmp),
        encoded(drawn(), "AVIF", xmp=xmp),
    ):
        assert door.open_picture(other, WHOLE).size == (96, 64)


def entry(kind: int, values: int, value: int, order: str = "<") -> bytes:
    """EXIF data that tell an orientation, among others."""
    tags = [(0x0112, kind, values, value), *((tag, 2, 1, 0) for tag in range(0x200, 0x300))]
    fields = b"".join(struct.pack(f"{order}HHIH2x", *tag) for tag in tags)
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IH", 8, len(tags)) + fields


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_orientation_is_one_number_of_16_bits(order: str) -> None:
    data = encoded(drawn(), "JPEG")
    for told, size in (
        ((3, 1, 6), (64, 96)),
        ((4, 1, 6), (96, 64)),
        ((3, 2, 6), (96, 64)),
        ((3, 1, 99), (96, 64)),
    ):
        for start in (b"Exif\0\0", b"Exif\0\xff"):
            exif = segment(0xE1, start + entry(*told, order=order))
            assert door.open_picture(data[:2] + exif + data[2:], WHOLE).size == size


def test_65_000_tags_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow took 0.3 s to read them all."""
    monkeypatch.setattr(Image.Exif, "load", None)
    test_an_orientation_is_one_number_of_16_bits("<")


SEGMENTS = {
    "garbage in EXIF": segment(0xE1, b"Exif\0\0" + GARBAGE),
    "EXIF without end": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + GARBAGE),
    "cut EXIF": segment(0xE1, TURNED[:14]),
    "APP1 of length 0": b"\xff\xe1\0\0",
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "short Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
    "garbage of Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM" + GARBAGE),
    "no number of a profile": segment(0xE2, b"ICC_PROFILE\0"),
    "a part of a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + GARBAGE),
    "garbage as a profile": segment(0xE2, b"ICC_PROFILE\0\1\1" + GARBAGE),
    "no multi-picture": segment(0xE2, b"MPF\0"),
    "garbage of multi-picture": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + GARBAGE),
    "FlashPix": segment(0xE2, b"FPXR\0"),
    "comment": segment(0xFE, GARBAGE),
    "empty tables": segment(0xC4, b"") + segment(0xDB, b""),
    "bytes of nothing": b"abc\xff\xff\xff",
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_jpeg_is_not_refused_for_what_does_not_draw(name: str) -> None:
    data = encoded(drawn(), "JPEG")
    assert (pixels(data[:20] + SEGMENTS[name] + data[20:]) == pixels(data)).all()


ENCODINGS = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1}}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("how", ENCODINGS)
def test_a_jpeg_without_its_end_is_whole_if_it_has_all_rows(how: str, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    data = encoded(Image.fromarray(noise).convert(mode), "JPEG", **ENCODINGS[how])
    for whole in (data[:-2], data[:-1], data[:-2] + bytes(500)):
        assert (pixels(whole) == pixels(data)).all()
        assert door.open_picture(whole, at_least=32).size == (80, 60)
    ends = [
        found.start() + shift for found in re.finditer(rb"\xff[\xd0-\xd7\xda]", data) for shift in (0, 2, 16)
    ]
    for end in (len(data) - 40, len(data) // 2, *ends):
        if end < len(data) - 4:
            assert refusal(data[:end]) in ("broken", "format"), end


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("how", ENCODINGS)
def test_a_jpeg_that_ends_early_is_refused_and_one_with_a_flat_corner_is_not(how: str, mode: str) -> None:
    """libjpeg makes grey of what is missing."""
    data = encoded(drawn(mode, (640, 480)), "JPEG", **ENCODINGS[how])
    scan = data.index(b"\xff\xda")
    for end in (scan + 500, (scan + len(data)) // 2):
        assert refusal(data[:end] + b"\xff\xd9") == "broken"
    flat = drawn(mode, (640, 480))
    flat.paste(flat.getpixel((0, 0)), (0, 200, 640, 480))
    assert door.open_picture(encoded(flat, "JPEG", **ENCODINGS[how]), 32).size == (80, 60)


def test_a_jpeg_without_its_end_may_cost_less_as_it_is_decoded_twice() -> None:
    data = encoded(drawn(size=(640, 480)), "JPEG", progressive=True)
    at = data.index(b"\xff\xc2") + 5
    costly = data[:at] + struct.pack(">HH", 6_120, 8_160) + data[at + 4 :]
    bombs.check(costly)
    with pytest.raises(door.UnusablePicture, match="no end"):
        bombs.check(costly[:-2])


def riff(*chunks_: tuple[bytes, bytes], flags: int = 0, size: int | None = None) -> bytes:
    """A WebP of `drawn`, with chunks behind its pixels."""
    canvas = bytes([flags, 0, 0, 0, 95, 0, 0, 63, 0, 0])
    parts = [(b"VP8X", canvas), (b"VP8L", encoded(drawn(), "WEBP", lossless=True)[20:]), *chunks_]
    body = b"".join(n + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for n, b in parts)
    return b"RIFF" + struct.pack("<I", len(body) + 4 if size is None else size) + b"WEBP" + body


def test_around_a_frame_smaller_than_its_canvas_is_paper() -> None:
    frame = struct.pack("<I", 95)[:3] + struct.pack("<I", 63)[:3] + bytes(4)
    body = encoded(drawn(), "WEBP", lossless=True)[12:]
    parts = [(b"VP8X", b"\x02\0\0\0\xc7\0\0\x95\0\0"), (b"ANIM", bytes(6)),
             (b"ANMF", b"\x0f\0\0\x0a\0\0" + frame + body)]  # fmt: skip
    whole = b"".join(name + struct.pack("<I", len(part)) + part for name, part in parts)
    seen = pixels(b"RIFF" + struct.pack("<I", len(whole) + 4) + b"WEBP" + whole).copy()
    assert (seen[20:84, 30:126] == np.asarray(drawn())).all()
    seen[20:84, 30:126] = 255
    assert (seen == 255).all()


def gif_with(blocks: bytes) -> bytes:
    data = encoded(drawn(), "GIF")
    at = 13 + (3 << (data[10] & 7) + 1)
    return data[:at] + blocks + data[at:]


def avif_with(exif: bytes) -> bytes:
    whole = Image.Exif()
    whole[0x010F] = "x" * 100
    data, found = encoded(drawn(), "AVIF", exif=whole.tobytes()), whole.tobytes()[6:]
    at = data.index(found[:20])
    return data[:at] + exif.ljust(len(found), b"!")[: len(found)] + data[at + len(found) :]


def bmp_with(at: int, value: int) -> bytes:
    data = bytearray(encoded(drawn("P"), "BMP"))
    struct.pack_into("<I", data, at, value)
    return bytes(data)


OTHERS = {
    "WebP, garbage in EXIF": (riff((b"EXIF", GARBAGE), flags=8), riff()),
    "WebP, garbage as profile": (riff((b"ICCP", GARBAGE), flags=0x20), riff()),
    "WebP, no EXIF where it is told": (riff(flags=0x2C), riff()),
    "WebP, cut behind its pixels": (riff((b"EXIF", GARBAGE), flags=8)[:-100], riff()),
    "WebP, larger by its size": (riff(size=10**6), riff()),
    "WebP, smaller by its size": (riff(size=200), riff()),
    "GIF, empty application": (gif_with(b"!\xff\0"), gif_with(b"")),
    "GIF, loop of nothing": (gif_with(b"!\xff\x0bNETSCAPE2.0\0"), gif_with(b"")),
    "GIF, comment": (gif_with(b"!\xfe\xff" + GARBAGE[:255] + b"\0"), gif_with(b"")),
    "GIF, no end": (gif_with(b"")[:-1], gif_with(b"")),
    "AVIF, garbage in EXIF": (avif_with(GARBAGE), avif_with(b"")),
    "BMP, more colours than bits": (bmp_with(46, 300), bmp_with(46, 0)),
    "BMP, colours without number": (bmp_with(46, 10**8), bmp_with(46, 0)),
    "BMP, another length": (bmp_with(2, 5), bmp_with(46, 0)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_not_refused_for_what_does_not_draw(name: str) -> None:
    damaged, whole = OTHERS[name]
    assert (pixels(damaged) == pixels(whole)).all()


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WEBP", b"GIF89a\1\0\1\0\0\0\0"])
def test_what_has_parts_without_end_is_refused(head: bytes) -> None:
    parts = b"!\xfe\0" if head.startswith(b"GIF") else b"abcd\0\0\0\0"
    assert refusal(head + parts * 500_000) == "broken"
