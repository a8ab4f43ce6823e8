"""Files of too many parts are refused before a decoder sees them; real ones pass."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from greenr_luigi.pictures import bombs, door
from tests.photographs import PHOTOS, needs_photos
from tests.pictures.test_door import drawn, encoded, png, refusal


def progressive(scans: int) -> bytes:
    """A grey progressive JPEG whose last scan comes so often that there are so many."""
    data = encoded(drawn("L", (640, 480)), "JPEG", progressive=True)
    found = [one.start() for one in bombs.MARKER.finditer(data) if data[one.end() - 1] == 0xDA]
    return data[:-2] + data[found[-1] : -2] * (scans - len(found)) + data[-2:]


def segments(count: int) -> bytes:
    data = encoded(drawn(), "JPEG")
    return data[:2] + b"\xff\xe5\x00\x02" * count + data[2:]


def chunks(count: int) -> bytes:
    data = encoded(drawn(), "PNG")
    return data[:33] + png(1, 1, *[(b"teSt", b"")] * count)[33:-12] + data[33:]


def blocks(count: int) -> bytes:
    data = encoded(drawn(), "GIF")
    table = 13 + (3 << (data[10] & 7) + 1)
    return data[:table] + b"!\xfe" + b"\x01a" * count + b"\0" + data[table:]


def runs() -> bytes:
    """A BMP of 8 bits a pixel by runs (BI_RLE8)."""
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024)
    info = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 0, 0, 0, 256, 0)
    return head + info + bytes(1024) + b"\x40\x01\0\0" * 64 + b"\0\x01"


def slow() -> dict[str, bytes]:
    """Small files that take a decoder for seconds or minutes."""
    return {
        "scans": progressive(5_000),
        "segments": segments(1_000_000),
        "chunks": chunks(500_000),
        "blocks": blocks(2_000_000),
        "runs": runs(),
    }


def test_what_would_take_for_ever_is_refused() -> None:
    for name, data in slow().items():
        assert refusal(data) == ("format" if name == "runs" else "broken"), name


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (progressive, bombs.MAX_SCANS),
        (segments, bombs.MAX_SEGMENTS - 20),
        (chunks, bombs.MAX_CHUNKS - 5),
        (blocks, bombs.MAX_SEGMENTS),
    ],
)
def test_up_to_the_limit_they_are_read(make, most) -> None:  # type: ignore[no-untyped-def]
    assert bombs.excess(make(most)) is None
    assert door.open_picture(make(most)).size[0] > 90
    assert bombs.excess(make(most + 25)) is not None


@pytest.mark.parametrize("kind", door.FORMATS)
def test_any_beginning_of_a_file_can_be_counted(kind: str) -> None:
    data = encoded(drawn(), kind)
    assert all(bombs.excess(data[:end]) is None for end in range(len(data)))


def test_what_a_jpeg_carries_beside_its_pixels_is_no_scan() -> None:
    """A thumbnail in the EXIF data has markers of its own."""
    exif = Image.Exif()
    exif[0x9286] = encoded(drawn(), "JPEG", progressive=True) * 20
    data = encoded(drawn(), "JPEG", exif=exif)
    assert data.count(b"\xff\xda") > bombs.MAX_SCANS and bombs.excess(data) is None


@needs_photos
def test_photographs_pass() -> None:
    assert [path for path in PHOTOS.glob("*/*") if bombs.excess(path.read_bytes())] == []
