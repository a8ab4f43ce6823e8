"""Colours as people see them: profiles, gamma, 16 bits, transparency; and the same for all who look."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from greenr_luigi.pictures import bmp, colour, door, flatten, thumbnail
from greenr_luigi.pictures.door import open_picture
from tests.pictures import WHOLE
from tests.pictures.test_door import chunk, drawn, encoded, png, refusal

#: Chromaticities: white, red, green, blue.
APPLE = (0.3127, 0.3290, 0.625, 0.340, 0.280, 0.595, 0.155, 0.070)
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
SRGB_FILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OLD_MAC = colour.profile(1 / 1.8, APPLE)
assert OLD_MAC


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """Soft colours, as a photograph has them."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    bands = [120 + 100 * np.sin(7 * x + 2), 110 + 90 * np.sin(6 * y + 3 * x), 90 + 80 * np.cos(5 * x - 4 * y)]
    return Image.fromarray(np.stack(bands, -1).astype(np.uint8))


def of_table(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile with CIELAB behind it."""
    at, table, bodies = 132 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        table += struct.pack(">4sII", name, at + len(bodies), len(body))
        bodies += body
    head = struct.pack(">II4s4s4s4s12x4s28x3i", at + len(bodies), 0, b"\2\x40\0\0", b"prtr", space, b"Lab ", b"acsp",
                       63190, 65536, 54061)  # fmt: skip
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + bodies


def printer(more: bytes = b"") -> bytes:
    """A CMYK profile, coarse and dull: a table of two steps each way."""
    ink = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = 100 - ink @ [20, 25, 6, 40]
    a, b = ink @ [-30, 60, -4, 0] * (1 - ink[:, 3]), ink @ [-40, -5, 75, 0] * (1 - ink[:, 3])
    lab = np.stack([light * 2.55, a + 128, b + 128], -1).clip(0, 255).astype(np.uint8)
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    )
    return of_table(
        b"CMYK", {b"A2B0": table + bytes(range(256)) * 4 + lab.tobytes() + bytes(range(256)) * 3 + more}
    )


def pixels(data: bytes, **how: int) -> np.ndarray:
    return np.asarray(open_picture(data, **{"at_least": WHOLE, **how})).astype(int)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_profile_is_followed(kind: str) -> None:
    """Of old Macs: values are light to the power of 1 / 1.8, and middle grey is brighter than it looks without."""
    grey = encoded(Image.new("RGB", (64, 64), (100, 100, 100)), kind, icc_profile=OLD_MAC, quality=100)
    light = (100 / 255) ** 1.8
    expected = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(pixels(grey) - expected).max() <= 1.5
    red = pixels(
        encoded(Image.new("RGB", (64, 64), (200, 60, 60)), kind, icc_profile=colour.profile(0.45455, P3))
    )
    assert red[..., 0].min() > 210 and red[..., 1].max() < 50


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_srgb_by_any_name_changes_no_pixel(mode: str) -> None:
    image = scene().convert(mode)
    assert (pixels(encoded(image, "PNG", icc_profile=SRGB_FILE)) == pixels(encoded(image, "PNG"))).all()
    assert colour.conversion(SRGB_FILE, mode) is None


@pytest.mark.parametrize(
    ("made", "mode"),
    [
        (lambda: b"", "RGB"),
        (lambda: b"garbage" * 50, "RGB"),
        (lambda: OLD_MAC[:250], "RGB"),
        (lambda: printer(), "RGB"),
        (lambda: OLD_MAC, "CMYK"),
        (lambda: printer(bytes(colour.MAX_PROFILE)), "CMYK"),
        (lambda: of_table(b"GRAY", {}), "L"),
        (lambda: of_table(b"RGB ", {b"A2B0": b"mft2" + bytes(8)}), "RGB"),
    ],
)
def test_a_profile_that_cannot_be_used_is_none(made: Callable[[], bytes], mode: str) -> None:
    image = scene().convert(mode)
    bare, told = (encoded(image, "JPEG", icc_profile=profile) for profile in (None, made()))
    assert (pixels(bare) == pixels(told)).all()


def test_steps_without_end_are_passed_by_and_the_rest_of_a_profile_holds() -> None:
    """160 KB of them took 12 s."""
    step = b"matf" + struct.pack(">4xHH12f", 3, 3, *np.eye(4, 3).ravel())
    count = 20_000
    places = struct.pack(">II", 16 + 8 * count, len(step)) * count
    steps = b"mpet" + struct.pack(">4xHHI", 3, 3, count) + places + step
    head = b"mft1" + struct.pack(">4xBBBx9i", 3, 3, 2, *np.eye(3, dtype=int).ravel() * 65536)
    table = head + bytes(range(256)) * 3 + bytes(range(0, 240, 10)) + bytes(range(256)) * 3
    endless, plain = (
        of_table(b"RGB ", tags) for tags in ({b"D2B1": steps, b"A2B0": table}, {b"A2B0": table})
    )
    began = time.process_time()
    seen = pixels(encoded(scene(), "JPEG", icc_profile=endless))
    assert time.process_time() - began < 1
    assert (seen == pixels(encoded(scene(), "JPEG", icc_profile=plain))).all()
    assert np.abs(seen - np.asarray(scene())).mean() > 10


@pytest.mark.slow
def test_inks_are_converted_by_their_profile_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(1200, 900).convert("CMYK")
    bare, data = (encoded(image, "JPEG", icc_profile=profile, quality=95) for profile in (None, printer()))
    whole = open_picture(data, WHOLE)
    assert np.abs(np.asarray(whole).astype(int) - pixels(bare)).mean() > 8
    monkeypatch.setattr(flatten, "STRIP", 50_000)
    assert open_picture(data, WHOLE) == whole
    monkeypatch.setattr(door, "LARGE", 1000)
    # An eighth by the decoder, and a fifth of that.
    small, expected = pixels(data, at_least=10), np.asarray(whole.reduce(40)).astype(int)
    assert small.shape == expected.shape == (23, 30, 3) and np.abs(small - expected)[:22].max() <= 6


def test_what_a_png_says_of_gamma_and_primaries_holds() -> None:
    plain = encoded(Image.new("RGB", (64, 64), (100, 100, 100)), "PNG")
    at = plain.index(b"IDAT") - 4

    def seen(*told: bytes) -> float:
        return float(pixels(plain[:at] + b"".join(told) + plain[at:]).mean())

    gamma = {value: chunk(b"gAMA", struct.pack(">I", value)) for value in (45455, 55556, 100_000)}
    primaries = chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in colour.SRGB)))
    assert seen() == seen(gamma[45455]) == seen(primaries) == 100
    assert seen(chunk(b"sRGB", b"\0"), gamma[100_000]) == 100
    assert seen(chunk(b"sRGB", b"\x09"), gamma[100_000]) == seen(gamma[100_000])
    for more in ((), (primaries,)):
        assert seen(gamma[55556], *more) == pytest.approx(119, abs=2)
        assert seen(gamma[100_000], *more) == pytest.approx(168, abs=1)
    assert seen(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(300))), gamma[100_000]) == seen(gamma[100_000])
    assert seen(chunk(b"gAMA", bytes(4))) == seen(gamma[45455], chunk(b"cHRM", bytes(32))) == 100


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_colours_told_by_the_numbers_of_video_are_followed(kind: str) -> None:
    """As by a profile, in whose place they stand; those of sRGB and those that nobody knows change nothing."""
    image = Image.new("RGB", (64, 64), (200, 60, 60))

    def seen(primaries: int, transfer: int, **how: bytes) -> list[int]:
        data = encoded(image, kind, quality=100, **how)
        if kind == "AVIF":
            told = struct.pack(">HH", primaries, transfer)
            return pixels(re.sub(rb"(colrnclx)....", lambda found: found[1] + told, data)).mean((0, 1))
        at = data.index(b"IHDR") + 21
        told = chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
        return pixels(data[:at] + told + data[at:]).mean((0, 1))

    plain = pixels(encoded(image, kind, quality=100)).mean((0, 1))
    wide = pixels(encoded(image, kind, quality=100, icc_profile=colour.profile(0.45455, P3))).mean((0, 1))
    assert np.abs(seen(12, 4) - wide).max() <= 1 < 15 < np.abs(seen(12, 13) - plain).max()
    for numbers in ((1, 13), (2, 2), (255, 13), (9, 16)):
        assert np.abs(seen(*numbers) - plain).max() < 1
    assert seen(1, 8).mean() > plain.mean() + 40
    if kind == "PNG":
        assert np.abs(seen(1, 13, icc_profile=OLD_MAC) - plain).max() < 1


FIELDS = {
    "565": (16, (0xF800, 0x7E0, 0x1F)),
    "1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "4444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "332": (16, (0xE0, 0x1C, 0x3)),
    "blue first": (32, (0xFF, 0xFF00, 0xFF0000)),
    "10 bits": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "11 bits": (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
    "no green": (32, (0xFF0000, 0, 0xFF)),
}


def in_fields(image: Image.Image, bits: int, masks: tuple[int, ...], header: int = 124) -> bytes:
    """A BMP whose colours lie in any bits."""
    words = np.zeros((image.height, image.width), f"<u{bits // 8}")
    for band, mask in zip((*np.moveaxis(np.asarray(image), -1, 0), 255), masks, strict=False):
        low = mask & -mask
        words |= (np.uint64(mask // (low or 1)) * band // 255 * low).astype(words.dtype)
    told = struct.pack(f"<{len(masks)}I", *masks)
    head = struct.pack(
        "<IiiHHI20x", header, image.width, -image.height, 1, bits, 3 if header > 40 or len(masks) < 4 else 6
    )
    head = (head + told).ljust(header, b"\0")
    return b"BM" + struct.pack("<8xI", 14 + len(head)) + head + words.tobytes()


@pytest.mark.parametrize("header", [40, 124])
@pytest.mark.parametrize("name", FIELDS)
def test_a_bmp_has_its_colours_in_any_bits(name: str, header: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bmp, "STRIP", 1000)
    bits, masks = FIELDS[name]
    seen = pixels(in_fields(scene(), bits, masks, header))
    for place, mask in enumerate(masks[:3]):
        steps = 1 << mask.bit_count()
        expected = np.asarray(scene())[..., place] if mask else 0
        assert np.abs(seen[..., place] - expected).max() <= 255 / max(steps - 1, 1) + 1


def test_a_bmp_s_clear_pixels_and_its_profile_count() -> None:
    data = in_fields(Image.new("RGB", (64, 64)), *FIELDS["1555"])
    assert pixels(data[:138] + bytes(2) + data[140:]).sum() == 3 * 255
    plain = encoded(scene(), "BMP")
    head = struct.pack("<I36s", 124, plain[18:54]).ljust(56, b"\0") + b"DEBM" + bytes(52)
    head += struct.pack("<III", 124 + len(plain) - 54, len(OLD_MAC), 0)
    told = plain[:10] + struct.pack("<I", 138) + head + plain[54:] + OLD_MAC
    assert (pixels(told) == pixels(encoded(scene(), "PNG", icc_profile=OLD_MAC))).all()


def test_a_bmp_in_fields_that_lacks_pixels_is_refused() -> None:
    assert refusal(in_fields(scene(), *FIELDS["4444"])[:-1]) == "broken"


def test_colours_are_converted_before_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (64, 64), (100, 100, 100, 128))
    half = pixels(encoded(image, "PNG", icc_profile=OLD_MAC)).mean()
    full = pixels(encoded(image.convert("RGB"), "PNG", icc_profile=OLD_MAC)).mean()
    assert half == pytest.approx(full * 128 / 255 + 127, abs=1)


def sixteen(values: np.ndarray, before: bytes = b"") -> bytes:
    """A PNG of 16 bits a value: grey (h, w), colours (h, w, 3), with chunks before its pixels."""
    kind = 2 if values.ndim == 3 else 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(
        values.shape[1], values.shape[0], before, chunk(b"IDAT", zlib.compress(rows)), depth=16, kind=kind
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colours", [1, 3])
def test_fewer_bits_in_sixteen_are_no_darkness(bits: int, colours: int) -> None:
    ramp = np.linspace(0, 2**bits - 1, 64 * 64).reshape(64, 64)
    values = ramp if colours == 1 else np.stack([ramp, ramp[::-1], ramp.T], -1)
    assert (
        np.abs(pixels(sixteen(values)).reshape(64, 64, 3)[..., 0] - ramp * 255 / (2**bits - 1)).max() <= 1.3
    )


@pytest.mark.parametrize("told", [chunk(b"sBIT", b"\x10\x10\x10"), chunk(b"gAMA", struct.pack(">I", 45455))])
def test_a_dark_picture_that_says_so_stays_dark(told: bytes) -> None:
    values = np.full((64, 64, 3), 3000)
    assert pixels(sixteen(values, told)).max() == 3000 // 256
    assert pixels(sixteen(values[..., 0], told if b"gAMA" in told else chunk(b"sBIT", b"\x10"))).max() == 11


def grey(depth: int, clear: int) -> bytes:
    """All shades of so many bits side by side, of which one is clear."""
    shades = np.arange(64) * 2**depth // 64
    if depth == 16:
        row = shades.astype(">u2").tobytes()
    else:
        row = np.packbits((shades[:, None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)).tobytes()
    told, rows = chunk(b"tRNS", struct.pack(">H", clear)), chunk(b"IDAT", zlib.compress((b"\0" + row) * 64))
    return png(64, 64, told, rows, depth=depth, kind=0)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_clear_shade_of_grey_is_white_paper(depth: int) -> None:
    shades = np.arange(64) * 2**depth // 64
    clear = int(shades[20])
    expected = np.where(shades == clear, 255, shades * 255 // (2**depth - 1))
    assert np.abs(pixels(grey(depth, clear))[0, :, 0] - expected).max() <= 1


def test_a_clear_colour_of_16_bits_is_white_paper() -> None:
    values = np.full((64, 64, 3), (60_000, 20_000, 300))
    values[:32] = 40_000
    seen = pixels(sixteen(values, chunk(b"tRNS", struct.pack(">3H", 60_000, 20_000, 300))))
    assert seen[40, 0].tolist() == [255] * 3 and seen[0, 0].tolist() == [156] * 3


@pytest.mark.parametrize("clear", [None, 3])
def test_around_a_gif_smaller_than_its_screen_is_paper(
    clear: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(
        encoded(scene().quantize(16), "GIF", **({} if clear is None else {"transparency": clear}))
    )
    at = data.index(b",", 13 + 48)
    data[6:10] = struct.pack("<HH", 200, 150)
    data[at + 1 : at + 5] = struct.pack("<HH", 40, 30)
    seen = pixels(bytes(data))
    inside = seen[30:94, 40:136].copy()
    seen[30:94, 40:136] = 255
    assert (seen == 255).all() and inside.mean() < 200
    monkeypatch.setattr(door, "LARGE", 1000)
    monkeypatch.setattr(flatten, "STRIP", 3000)
    assert np.abs(pixels(bytes(data), at_least=20)[10:31, 14:45].mean() - inside.mean()) < 3


def test_copies_carry_no_profile_of_what_they_were() -> None:
    """A browser would convert their colours once more."""
    data = encoded(scene(), "JPEG", icc_profile=OLD_MAC, comment=b"of a visitor")
    buffer = io.BytesIO()
    thumbnail.thumbnail(data, 64).save(buffer, "JPEG")
    assert {"icc_profile", "comment"}.isdisjoint(Image.open(buffer).info)


def test_pixels_as_of_the_first_door_are_those_that_older_releases_know() -> None:
    profiled = encoded(scene(), "PNG", icc_profile=OLD_MAC)
    assert (pixels(profiled, version=1) == np.asarray(scene())).all()
    assert np.abs(pixels(profiled, version=door.VERSION) - np.asarray(scene())).mean() > 8
    assert pixels(sixteen(np.full((64, 64), 4095)), version=1).max() == 15
    xmp = encoded(drawn(), "JPEG", xmp=b'<x tiff:Orientation="6"/>')
    assert open_picture(xmp, WHOLE, version=1).size == (64, 96)
    large = encoded(drawn(size=(2600, 2000)), "PNG", icc_profile=OLD_MAC)
    assert (
        open_picture(large, at_least=100, version=1).size
        == open_picture(large, at_least=100).size
        == (260, 200)
    )
