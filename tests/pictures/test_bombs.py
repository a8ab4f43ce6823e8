"""Files of too many parts are refused before a decoder sees them; real ones pass."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from greenr_luigi.pictures import bombs, door, jpeg
from tests.photographs import PHOTOS, needs_photos
from tests.pictures import WHOLE
from tests.pictures.test_door import chunk, drawn, encoded, png, refusal


def progressive(scans: int) -> bytes:
    """A grey progressive JPEG whose last scan comes so often that there are so many."""
    data = encoded(drawn("L", (640, 480)), "JPEG", progressive=True)
    found = [begin for marker, begin, _ in jpeg.segments(data) if marker == jpeg.SOS]
    return data[:-2] + data[found[-1] : -2] * (scans - len(found)) + data[-2:]


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff%c%b%b" % (marker, struct.pack(">H", len(body) + 2), body)


def in_scans(
    width: int, height: int, components: int, scans: int, band: tuple[int, int] = (1, 63), hide: bytes = b""
) -> bytes:
    """A progressive JPEG, grey by its first scan, and then refined so often in nothing: 15 bits say that of 32,767
    blocks. `hide` stands before each scan."""
    numbers = range(1, components + 1)
    blocks = -(-width // 8) * -(-height // 8)
    nothing = (
        "0" + "1" * 14
    )  # The one code there is, for a run of 2 ** 14 blocks and as many more as 14 bits say.
    bits = nothing * -(-blocks // 32_767)
    bits += "1" * (-len(bits) % 8)
    refined = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    codes = bytes([1] + [0] * 15)
    made = [
        b"\xff\xd8",
        segment(0xDB, b"\0" + b"\1" * 64),
        segment(0xEE, b"Adobe\0\x64\0\0\0\0\0") if components == 4 else b"",
        segment(
            jpeg.PROGRESSIVE,
            struct.pack(">BHHB", 8, height, width, components)
            + b"".join(b"%c\x11\0" % one for one in numbers),
        ),
        segment(0xC4, b"\x00" + codes + b"\0"),
        segment(0xC4, b"\x10" + codes + b"\xe0"),
        segment(0xDD, b"\xff\xff") if hide else b"",
        segment(jpeg.SOS, bytes([components]) + b"".join(b"%c\0" % one for one in numbers) + b"\0\0\0"),
        bytes(-(-blocks * components // 8)),
    ]
    for number in range(scans):
        made += [hide, segment(jpeg.SOS, bytes([1, number % components + 1, 0, *band, 0x10])), refined]
    return b"".join(made) + b"\xff\xd9"


def alike(width: int, height: int, scans: int) -> bytes:
    """A JPEG not in scans by its frame, whose three components have one number: each scan names one of them."""
    nothing = segment(jpeg.SOS, b"\1\1\0\0\x3f\0") + bytes(-(-width // 8) * -(-height // 8) // 4)
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0" * 3
    return in_scans(64, 64, 1, 0)[:71] + segment(jpeg.BASELINE, frame) + nothing * scans + jpeg.END


def recoded(marker: int) -> bytes:
    """A JPEG whose frame claims another coding."""
    data = encoded(drawn(), "JPEG")
    return data.replace(b"\xff\xc0", b"\xff%c" % marker, 1)


def deep(width: int, height: int, kind: int) -> bytes:
    """A PNG of 16 bits a value."""
    rows = zlib.compress(bytes((1 + width * 2 * bombs.CHANNELS[kind]) * height), 1)
    return png(width, height, chunk(b"IDAT", rows), depth=16, kind=kind)


def segments(count: int) -> bytes:
    data = encoded(drawn(), "JPEG")
    return data[:2] + b"\xff\xe5\x00\x02" * count + data[2:]


def chunks(count: int, name: bytes = b"teSt", body: bytes = b"") -> bytes:
    data = encoded(drawn(), "PNG")
    return data[:33] + chunk(name, body) * count + data[33:]


def blocks(count: int) -> bytes:
    data = encoded(drawn(), "GIF")
    table = 13 + (3 << (data[10] & 7) + 1)
    return data[:table] + b"!\xfe" + b"\x01a" * count + b"\0" + data[table:]


def runs() -> bytes:
    """A BMP of 8 bits a pixel by runs (BI_RLE8)."""
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024)
    info = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 0, 0, 0, 256, 0)
    return head + info + bytes(1024) + b"\x40\x01\0\0" * 64 + b"\0\x01"


def junk(kind: str) -> bytes:
    """A million bytes that belong to no part, where Pillow looks for one byte by byte."""
    data = encoded(drawn(), kind)
    parts = 13 + (3 << (data[10] & 7) + 1) if kind == "GIF" else data.index(b"\xff\xdb")
    return data[:parts] + b"\1" * 1_000_000 + data[parts:]


def slow() -> dict[str, bytes]:
    """Small files that take a decoder for seconds or minutes."""
    profile = b"k\0\0" + zlib.compress(bytes(2**20 - 1), 9)
    data = encoded(drawn(), "JPEG")
    exif = segment(jpeg.APP1, b"Exif\0\0II*\0\x08\0\0\0\0\0".ljust(10_000, b"\0"))
    return {
        "scans": progressive(5_000),
        "scans of a large picture": in_scans(5_000, 5_000, 3, 30),
        "scans behind what stands alone": in_scans(64, 64, 3, 5_000, hide=b"\xff\x02" + b"\xff\xff"),
        "values": in_scans(6_000, 6_000, 3, 2),
        "values in CMYK": in_scans(5_000, 5_000, 4, 2),
        "values of components alike": alike(7_000, 7_000, 100),
        "rows with a clear colour": png(7_071, 7_071, chunk(b"tRNS", bytes(6))),
        "segments": segments(1_000_000),
        "exif": data[:2] + exif * 1_900 + data[2:],
        "chunks": chunks(500_000),
        "profiles": chunks(15_000, b"iCCP", profile),
        "rows": deep(7_000, 7_000, 6),
        "blocks": blocks(2_000_000),
        "junk in a GIF": junk("GIF"),
        "runs": runs(),
    }


#: Reasons of a few that are not "broken".
REASONS = {
    "runs": "format", "rows": "too-large", "values": "too-large", "values in CMYK": "too-large",
    "values of components alike": "too-large", "rows with a clear colour": "too-large",
}  # fmt: skip


@pytest.mark.slow
def test_what_would_take_for_ever_is_refused() -> None:
    made = slow()
    for name, data in made.items():
        began = time.process_time()
        assert refusal(data) == REASONS.get(name, "broken"), name
        assert time.process_time() - began < 0.7, name


@pytest.mark.parametrize(
    ("make", "most"),
    [(progressive, bombs.MAX_SCANS), (segments, 2_000), (chunks, 20_000), (blocks, 2_000)],
)
def test_up_to_the_limit_they_are_read(make, most) -> None:  # type: ignore[no-untyped-def]
    assert door.open_picture(make(most), WHOLE).size[0] > 90


def test_junk_in_a_jpeg_is_passed_by_at_once() -> None:
    """Before Pillow sees it."""
    began = time.process_time()
    assert door.open_picture(junk("JPEG"), WHOLE) == door.open_picture(encoded(drawn(), "JPEG"), WHOLE)
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_ordinary_scans_of_ordinary_photographs_pass(mode: str) -> None:
    """24 megapixels, by their header alone."""
    small = encoded(drawn(mode, (640, 480)), "JPEG", progressive=True)
    at = small.index(b"\xff\xc2") + 5
    bombs.check(small[:at] + struct.pack(">HH", 4_000, 6_000 if mode != "CMYK" else 5_300) + small[at + 4 :])


def test_fifty_megapixels_as_cameras_sample_colour_pass_in_ten_scans() -> None:
    small = encoded(drawn("RGB", (640, 480)), "JPEG", progressive=True, subsampling="4:2:0")
    at = small.index(b"\xff\xc2") + 5
    bombs.check(small[:at] + struct.pack(">HH", 6_120, 8_160) + small[at + 4 :])


@pytest.mark.parametrize(
    ("marker", "words"),
    [(0xC9, "arithmetic"), (0xCA, "arithmetic"), (0xCE, "arithmetic"), (0xC3, "lossless")],
)
def test_a_jpeg_that_no_browser_reads_is_told_so(marker: int, words: str) -> None:
    with pytest.raises(door.UnusablePicture, match=f"{words}.*save it") as found:
        door.open_picture(recoded(marker), WHOLE)
    assert found.value.reason == "format"


def test_a_jpeg_of_12_bits_is_told_so() -> None:
    data = recoded(jpeg.EXTENDED).replace(b"\xff\xc1\0\x11\x08", b"\xff\xc1\0\x11\x0c")
    with pytest.raises(door.UnusablePicture, match=r"of 12 bits a value.*save it"):
        door.open_picture(data, WHOLE)


@pytest.mark.parametrize("kind", door.FORMATS)
def test_any_beginning_of_a_file_can_be_counted(kind: str) -> None:
    data = encoded(drawn(), kind)
    for end in range(len(data)):
        try:
            bombs.check(data[:end])
        except door.UnusablePicture as error:
            assert kind == "AVIF" and "damaged or cut off" in str(error)


def test_what_a_jpeg_carries_beside_its_pixels_is_no_scan() -> None:
    """A thumbnail in the EXIF data has markers of its own."""
    exif = Image.Exif()
    exif[0x9286] = encoded(drawn(), "JPEG", progressive=True) * 20
    data = encoded(drawn(), "JPEG", exif=exif)
    assert data.count(b"\xff\xda") > bombs.MAX_SCANS
    bombs.check(data)


@pytest.mark.slow
@given(st.binary(max_size=80), st.sampled_from(["JPEG", "PNG"]), st.booleans(), st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_a_file_says_of_its_parts_it_is_counted(
    noise: bytes, kind: str, scans: bool, data: st.DataObject
) -> None:
    whole = encoded(drawn(), kind, **({"progressive": scans} if kind == "JPEG" else {}))
    where = data.draw(st.integers(2, 400))
    for damaged in (
        whole[:where] + noise + whole[where:],
        whole[:where] + noise + whole[where + len(noise) :],
    ):
        with contextlib.suppress(door.UnusablePicture):
            bombs.check(damaged)


@needs_photos
def test_photographs_pass() -> None:
    for path in PHOTOS.glob("*/*"):
        bombs.check(path.read_bytes())
