"""TIFF in a person's own folders: which are read and as what, what they may cost, and that nobody else gives any."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from greenr_luigi.pictures import colour, door, kinds
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.terms import STRANGERS, TAKEN, Terms
from greenr_luigi.sources import folder, sample, urls
from greenr_luigi.sources.source import Request
from tests.pictures import WHOLE
from tests.pictures.test_bombs import in_scans
from tests.pictures.test_door import drawn, encoded

OWN = Terms(own=True)
SCENE = np.asarray(drawn())
#: TIFF 6.0's tags by name.
TAGS = {name: number for number, name in TiffImagePlugin.TiffTags.TAGS_V2.items() if isinstance(name, str)}
TAGS |= {"DNGVersion": 0xC612} | {
    tag.name: tag.value for tag in TiffImagePlugin.TiffTags.TAGS_V2.values() if tag.value is not None
}


def pixels(data: bytes, terms: Terms = OWN) -> np.ndarray:
    return np.asarray(door.open_picture(data, WHOLE, terms=terms)).astype(int)


def tiff(
    parts: list[bytes],
    tags: dict[str, int | tuple[int, ...] | bytes],
    order: str = "<",
    big: bool = False,
    **more: int,
) -> bytes:
    """A TIFF of these strips, or tiles where a tag says so, of 96 x 64 pixels unless they say otherwise."""
    word, size, tags = *(("Q", 8) if big else ("I", 4)), tags | more
    at, offsets = (16 if big else 8), []
    for part in parts:
        offsets.append(at)
        at += len(part)
    told: dict[str, int | tuple[int, ...] | bytes] = {"ImageWidth": 96, "ImageLength": 64}
    names = ("TileOffsets", "TileByteCounts") if "TileWidth" in tags else ("StripOffsets", "StripByteCounts")
    told |= {names[0]: tuple(offsets), names[1]: tuple(map(len, parts))} | tags
    body = b"".join(parts)
    body += bytes(len(body) % 2)
    at += at % 2
    entries, values = [], b""
    behind = at + (8 + 20 * len(told) + 8 if big else 2 + 12 * len(told) + 4)
    for number, value in sorted((TAGS[name], value) for name, value in told.items()):
        several = value if isinstance(value, tuple | bytes) else (value,)
        kind = 7 if isinstance(value, bytes) else 4
        packed = value if isinstance(value, bytes) else struct.pack(f"{order}{len(several)}I", *several)
        entry = struct.pack(f"{order}HH{word}", number, kind, len(several))
        if len(packed) > size:
            entry += struct.pack(f"{order}{word}", behind + len(values))
            values += packed
        else:
            entry += packed.ljust(size, b"\0")
        entries.append(entry)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}HHHQ", 43, 8, 0, at) if big else struct.pack(f"{order}HI", 42, at))
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(told))
    return b"".join([head, body, count, *entries, bytes(size), values])


GREY = {"BitsPerSample": 8, "PhotometricInterpretation": 1, "SamplesPerPixel": 1}
RGB = {"BitsPerSample": (8, 8, 8), "PhotometricInterpretation": 2, "SamplesPerPixel": 3}
GREYS = np.asarray(drawn("L"))
AS_RGB = np.repeat(GREYS[..., None], 3, 2)


def in_lab() -> Image.Image:
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
    return ImageCms.applyTransform(drawn(), ImageCms.buildTransform(*profiles, "RGB", "LAB"))


@pytest.mark.parametrize("packed", [None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_what_pillow_writes_is_read_as_the_same_png_or_jpeg(mode: str, packed: str | None) -> None:
    if mode == "I;16":
        image, expected = Image.fromarray(GREYS.astype(np.uint16) * 257), AS_RGB
    else:
        image = drawn("P").convert("PA") if mode == "PA" else drawn(mode)
        expected = np.asarray(image.convert("RGB"))
    how = {"compression": packed} if packed else {}
    for big in (False, True):
        assert np.array_equal(pixels(encoded(image, "TIFF", big_tiff=big, **how)), expected)


def test_the_methods_of_telefax_are_read() -> None:
    for packed in ("group3", "group4", "tiff_ccitt"):
        data = encoded(drawn("1"), "TIFF", compression=packed)
        assert np.array_equal(pixels(data), np.asarray(drawn("1").convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
def test_jpeg_inside_is_read(mode: str) -> None:
    data = encoded(drawn(mode), "TIFF", compression="jpeg", quality=95)
    assert np.abs(pixels(data) - np.asarray(drawn(mode).convert("RGB"))).mean() < 2


def test_lab_is_converted_as_lcms_does() -> None:
    back = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    expected = np.asarray(ImageCms.applyTransform(in_lab(), back))
    assert np.abs(pixels(encoded(in_lab(), "TIFF")) - expected).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_strips_tiles_and_planes_in_either_byte_order(order: str, big: bool) -> None:
    rows = [SCENE[top : top + 20].tobytes() for top in range(0, 64, 20)]
    assert np.array_equal(pixels(tiff(rows, RGB, order, big, RowsPerStrip=20)), SCENE)
    padded = np.zeros((64, 128, 3), np.uint8)
    padded[:, :96] = SCENE
    tiles = [padded[y : y + 32, x : x + 64].tobytes() for y in (0, 32) for x in (0, 64)]
    assert np.array_equal(pixels(tiff(tiles, RGB, order, big, TileWidth=64, TileLength=32)), SCENE)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "bits", "packed"),
    [("LA", 8, False), *itertools.product(["RGB", "RGBA", "RGBX", "CMYK"], [8, 16], [False, True])],
)
def test_planes_are_read_as_the_same_values_side_by_side(
    kind: str, bits: int, packed: bool, order: str
) -> None:
    samples, photometric = len(kind), {"C": 5, "L": 1}.get(kind[0], 2)
    values = np.dstack([SCENE, GREYS])[..., -samples:].astype(f"{order}u{bits // 8}") * (
        257 if bits == 16 else 1
    )
    tags = {
        "BitsPerSample": (bits,) * samples,
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": photometric,
    }
    if kind[-1] in "AX":
        tags["ExtraSamples"] = 2 if kind[-1] == "A" else 0
    expected = pixels(tiff([values.tobytes()], tags, order))
    pack = zlib.compress if packed else bytes
    strips = [
        pack(values[top : top + 20, :, n].tobytes()) for n in range(samples) for top in range(0, 64, 20)
    ]
    tags |= {"PlanarConfiguration": 2, "Compression": 8 if packed else 1}
    assert np.array_equal(pixels(tiff(strips, tags, order, RowsPerStrip=20)), expected)
    tiles = [pack(values[:, x : x + 48, n].tobytes()) for n in range(samples) for x in (0, 48)]
    assert np.array_equal(pixels(tiff(tiles, tags, order, TileWidth=48, TileLength=64)), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_16_bits_of_either_order_and_either_white(order: str, photometric: int) -> None:
    values = GREYS.astype(np.uint16) * 257
    values = 65535 - values if photometric == 0 else values
    tags = GREY | {"BitsPerSample": 16, "PhotometricInterpretation": photometric}
    assert np.abs(pixels(tiff([values.astype(f"{order}u2").tobytes()], tags, order)) - AS_RGB).max() <= 1
    # Of 12 bits, as microscopes and cameras write them, as a PNG of them.
    values >>= 4
    data = tiff([values.astype(f"{order}u2").tobytes()], tags, order)
    assert np.abs(pixels(data) - AS_RGB).max() <= 1
    assert np.array_equal(pixels(encoded(Image.fromarray(values), "PNG")), pixels(data)) or photometric == 0


def test_white_is_zero_and_colours_of_16_bits() -> None:
    tags = GREY | {"PhotometricInterpretation": 0}
    assert np.array_equal(pixels(tiff([(255 - GREYS).tobytes()], tags)), AS_RGB)
    colours = (SCENE.astype("<u2") * 257).tobytes()
    assert np.array_equal(pixels(tiff([colours], RGB | {"BitsPerSample": (16, 16, 16)})), SCENE)


def test_a_palette_in_steps_of_255_is_no_black_picture() -> None:
    shades = tuple(range(256))
    tags = GREY | {"PhotometricInterpretation": 3, "ColorMap": shades * 3}
    assert np.array_equal(pixels(tiff([GREYS.tobytes()], tags)), AS_RGB)


@pytest.mark.parametrize("extra", [1, 2])
def test_transparency_is_white(extra: int) -> None:
    clear = np.dstack([SCENE, np.full((64, 96), 255, np.uint8)])
    clear[:32] = (0, 0, 0, 0)
    tags = RGB | {"BitsPerSample": (8,) * 4, "SamplesPerPixel": 4, "ExtraSamples": extra}
    seen = pixels(tiff([clear.tobytes()], tags))
    assert (seen[:32] == 255).all() and np.array_equal(seen[32:], SCENE[32:])
    grey = np.dstack([GREYS, clear[..., 3]])
    grey[:32] = 0
    tags = GREY | {"BitsPerSample": (8, 8), "SamplesPerPixel": 2, "ExtraSamples": extra}
    seen = pixels(tiff([grey.tobytes()], tags))
    assert (seen[:32] == 255).all() and np.array_equal(seen[32:], AS_RGB[32:])


def test_the_first_page_counts_upright_and_in_its_own_colours() -> None:
    pages = io.BytesIO()
    drawn().save(pages, "TIFF", save_all=True, append_images=[Image.new("RGB", (200, 200))])
    assert np.array_equal(pixels(pages.getvalue()), SCENE)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = turn
        jpeg = door.open_picture(encoded(drawn(), "JPEG", exif=exif, quality=100, subsampling=0), WHOLE)
        data = tiff([SCENE.tobytes()], RGB, Orientation=turn)
        assert np.abs(pixels(data) - np.asarray(jpeg).astype(int)).mean() < 5
        assert (examine(data, "", "", OWN).width, examine(data, "", "", OWN).height) == jpeg.size
    plain, profile = Image.new("RGB", (96, 64), (200, 100, 50)), colour.coded(12, 13)
    of_screen = pixels(encoded(plain, "PNG", icc_profile=profile))
    assert np.array_equal(pixels(encoded(plain, "TIFF", icc_profile=profile)), of_screen)
    assert not np.array_equal(of_screen, np.asarray(plain))


REFUSED = {
    "old-style JPEG": (lambda: tiff([b"x"], RGB | {"Compression": 6}), "old-style JPEG"),
    "LZMA": (lambda: encoded(drawn(), "TIFF", compression="lzma"), "packed by LZMA"),
    "Zstandard": (lambda: encoded(drawn(), "TIFF", compression="zstd"), "packed by Zstandard"),
    "JPEG XL": (lambda: tiff([b"x"], RGB | {"Compression": 50002}), "packed by JPEG XL"),
    "an unknown method": (lambda: tiff([b"x"], RGB | {"Compression": 9999}), "a method with the number 9999"),
    "floats": (lambda: encoded(drawn("F"), "TIFF"), "floating-point numbers"),
    "signed": (lambda: encoded(drawn("I"), "TIFF"), "signed numbers"),
    "planes of grey with transparency, packed": (
        lambda: tiff([zlib.compress(GREYS.tobytes())] * 2,
                     GREY | {"BitsPerSample": (8, 8), "SamplesPerPixel": 2, "ExtraSamples": 2, "Compression": 8,
                             "PlanarConfiguration": 2}), "pixels of a kind"),
    "32 bits": (lambda: tiff([bytes(4 * 6144)], GREY | {"BitsPerSample": 32}), "numbers of 32 bits"),
    "YCbCr as it is": (lambda: encoded(drawn("YCbCr"), "TIFF"), "its colours in a way"),
    "a mask": (lambda: tiff([GREYS.tobytes()], GREY | {"PhotometricInterpretation": 4}), "its colours in a way"),
    "a mosaic": (lambda: tiff([GREYS.tobytes()], GREY | {"PhotometricInterpretation": 32803}), "camera's raw file"),
    "a DNG": (lambda: tiff([GREYS.tobytes()], GREY | {"DNGVersion": b"\1\4\0\0"}), "camera's raw file"),
    "5 bits": (lambda: tiff([bytes(6144)], GREY | {"BitsPerSample": 5}), "pixels of a kind"),
    "a JPEG in scans": (lambda: tiff([in_scans(96, 64, 3, 2)], RGB | {"Compression": 7}), "JPEG data in scans"),
    "a JPEG of 12 bits": (lambda: tiff([b"x"], RGB | {"Compression": 7, "BitsPerSample": 12}), "JPEG of 12 bits"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named_with_what_to_do(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(door.UnusablePicture, match=f"{words}.*(save it as PNG|export it)") as found:
        pixels(make())
    assert found.value.reason == "format"


def parts_of(**tags: int | tuple[int, ...]) -> bytes:
    return tiff([GREYS.tobytes()], GREY | tags)


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "pixels": (lambda: encoded(Image.new("1", (30_000, 6_000)), "TIFF", compression="group4"), "too-large"),
    "a tile of gigabytes": (lambda: parts_of(TileWidth=2**16, TileLength=2**16, Compression=5), "too-large"),
    "a strip of gigabytes": (
        lambda: parts_of(ImageWidth=1_000, ImageLength=50_000, Compression=8, BitsPerSample=(8,) * 16,
                         SamplesPerPixel=16), "too-large"),
    "rows": (lambda: parts_of(ImageWidth=7_000, ImageLength=7_000, Compression=8, BitsPerSample=(16,) * 4,
                              SamplesPerPixel=4, PhotometricInterpretation=2), "too-large"),
    "strips over one another": (
        lambda: parts_of(RowsPerStrip=1, Compression=8, StripOffsets=(8,) * 64, StripByteCounts=(6_000,) * 64),
        "broken"),
    "a million tiles": (lambda: parts_of(ImageWidth=7_000, ImageLength=7_000, TileWidth=1, TileLength=49), "broken"),
    "strips for no row": (lambda: parts_of(RowsPerStrip=0), "broken"),
    "no width": (lambda: parts_of(ImageWidth=0), "broken"),
    "fewer strips than rows": (lambda: parts_of(RowsPerStrip=8), "broken"),
    "a strip beyond the end": (lambda: parts_of(StripOffsets=2**31), "broken"),
    "samples": (lambda: parts_of(SamplesPerPixel=2**31), "broken"),
    "a directory beyond the end": (lambda: b"II*\0\xff\xff\xff\x7f" + bytes(99), "broken"),
    "tags without end": (lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(99), "broken"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_cost_too_much_or_is_damaged_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = BOMBS[name]
    data = make()
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", lambda _: pytest.fail("it is decoded"))
    with pytest.raises(door.UnusablePicture) as found:
        pixels(data)
    assert found.value.reason == reason


def test_pages_without_end_and_tags_of_others_are_never_read() -> None:
    data = bytearray(
        tiff([SCENE.tobytes()], RGB, Artist=b"x" * 9_000, XMP=b"<x" * 9_000, ExifIFD=8, SubIFDs=8)
    )
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    struct.pack_into("<I", data, at + 2 + 12 * count, at)  # The next page is this one.
    image = door.open_header(bytes(data), OWN)
    assert {315, 700, 34665, 330}.isdisjoint(image.tag_v2) and image.n_frames == 1
    assert np.array_equal(pixels(bytes(data)), SCENE)


@functools.cache
def samples() -> list[bytes]:
    rows = [SCENE[top : top + 20].tobytes() for top in range(0, 64, 20)]
    packed = [
        ("RGB", "tiff_lzw"),
        ("L", "tiff_adobe_deflate"),
        ("1", "group4"),
        ("RGB", "jpeg"),
        ("P", "packbits"),
    ]
    exotic = [tiff(rows, RGB, ">", big, RowsPerStrip=20, Orientation=6) for big in (False, True)]
    return [*(encoded(drawn(mode), "TIFF", compression=how) for mode, how in packed), *exotic]


@given(
    st.sampled_from(range(7)),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_damaged_ones_are_pictures_or_refused_and_never_print(
    number: int, changes: list[tuple[float, int]], end: float
) -> None:
    data = bytearray(samples()[number])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    data = data[: len(data) if end > 0.5 else int(2 * end * len(data))]
    try:
        assert door.open_picture(bytes(data), 224, terms=TAKEN).mode == "RGB"
    except door.UnusablePicture as error:
        assert len(str(error)) > 20


def test_libtiff_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for data, step in itertools.product(samples(), (3, 7)):
        damaged = bytearray(data)
        damaged[12 : len(data) // 2 : step] = b"\xa5" * len(range(12, len(data) // 2, step))
        with contextlib.suppress(door.UnusablePicture):
            pixels(bytes(damaged))
    assert capfd.readouterr() == ("", "")


def test_pillow_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    many = {
        "BitsPerSample": (8,) * 8,
        "SamplesPerPixel": 8,
        "PhotometricInterpretation": 2,
        "ExtraSamples": (0,) * 5,
    }
    with pytest.raises(door.UnusablePicture, match="of a kind that is not read"):
        pixels(tiff([bytes(8 * 6144)], many))
    assert not caplog.records


def test_strangers_give_none_and_hear_what_to_do() -> None:
    data = encoded(drawn(), "TIFF")
    with pytest.raises(
        door.UnusablePicture, match=r"^this is a TIFF picture, which is not read: save it as JPEG or PNG"
    ):
        pixels(data, STRANGERS)
    assert kinds.format_of(data) is None and kinds.format_of(data, own=True) == "TIFF"
    request = Request("grass", "grass", min_side=16)
    assert folder.SOURCE.terms(request) == Terms(16, own=True)
    assert urls.SOURCE.terms(request) == request.terms == Terms(16)
    assert sample.SOURCE.terms(request).own


def test_it_keeps_its_name_in_a_data_set(tmp_path: Path) -> None:
    data = encoded(drawn(), "TIFF")
    row = examine(data, "grass", "folder", OWN)
    assert row.file.endswith(".tiff") and door.suffix(data) == ".tiff"
    assert row.dhash == examine(encoded(drawn(), "PNG"), "grass", "folder").dhash
