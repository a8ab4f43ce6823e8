"""An AVIF costs what its video data say, whatever it says of itself."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.pictures import avif, door
from greenr_luigi.pictures.door import UnusablePicture
from tests.pictures import WHOLE
from tests.pictures.test_door import drawn, encoded, refusal


def movie(frames: int, side: int = 256) -> bytes:
    first, *others = [drawn(size=(side, side)).rotate(90 * number) for number in range(frames)]
    return encoded(first, "AVIF", save_all=True, append_images=others, speed=10)


def hidden(frames: int, side: int = 256) -> bytes:
    """A still picture whose data are those of all frames of a movie."""
    data = bytearray(avif.still(movie(frames, side)))
    begin, end = next((start, end) for name, start, end in avif.boxes(data, 0, len(data)) if name == b"mdat")
    # The only extent of the only item: where it begins, and how long it is.
    at = data.index(struct.pack(">I", begin), 0, begin)
    data[at + 4 : at + 8] = struct.pack(">I", end - begin)
    return bytes(data)


def cost(data: bytes) -> float:
    return sum(
        avif._cost(data, start, end) for name, start, end in avif.boxes(data, 0, len(data)) if name == b"meta"
    )


def test_each_frame_counts_and_each_byte() -> None:
    one, many = cost(hidden(1)), cost(hidden(5))
    pixels = 256 * 256
    assert pixels < one < pixels + 1.4 * len(hidden(1))
    assert 5 * pixels < many < 5 * pixels + 1.4 * len(hidden(5))
    whole = cost(encoded(drawn(size=(256, 256)), "AVIF", subsampling="4:4:4"))
    assert 1.6 * pixels < whole < 1.8 * pixels
    clear = drawn("RGBA", (256, 256))
    clear.putalpha(drawn("L", (256, 256)))
    assert 2 * pixels < cost(encoded(clear, "AVIF")) < 2.3 * pixels


def test_frames_that_nobody_sees_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = hidden(6)
    assert door.open_picture(data, WHOLE).size == (256, 256)
    monkeypatch.setattr(avif, "MAX_COST", 5 * 256 * 256)
    assert refusal(data) == "too-large"
    door.open_picture(hidden(3), WHOLE)


def test_a_size_that_is_not_that_of_the_data_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The box says 64 x 64, the data 512 x 512."""
    data = encoded(drawn(size=(512, 512)), "AVIF")
    size = struct.pack(">II", 512, 512)
    assert data.count(size) == 1
    small = data.replace(size, struct.pack(">II", 64, 64))
    assert cost(small) > 512 * 512
    monkeypatch.setattr(avif, "MAX_COST", 512 * 512)
    assert refusal(small) == "too-large"


def test_units_without_end_are_not_counted_for_ever() -> None:
    data = encoded(drawn(), "AVIF")
    begin, end = next((start, end) for name, start, end in avif.boxes(data, 0, len(data)) if name == b"mdat")
    at = data.index(struct.pack(">I", begin), 0, begin)
    many = b"\x12\x00" * 3_000_000
    data = data[: at + 4] + struct.pack(">I", len(many)) + data[at + 8 : begin] + many + data[end:]
    assert refusal(data) == "broken"


def test_of_a_movie_the_still_picture_is_taken() -> None:
    image = door.open_picture(movie(3), at_least=32)
    assert image.size == (256, 256)
    left, right = image.getpixel((60, 128)), image.getpixel((200, 128))
    assert left[0] > 200 > 60 > left[2] and right[2] > 200 > 60 > right[0]


@pytest.mark.slow
@given(st.binary(max_size=40), st.integers(0, 2), st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_its_boxes_say_they_are_read(noise: bytes, which: int, data: st.DataObject) -> None:
    whole = FILES[which]
    where = data.draw(st.integers(0, min(len(whole), 600)))
    for damaged in (
        whole[:where] + noise + whole[where + len(noise) :],
        whole[:where] + noise + whole[where:],
    ):
        with contextlib.suppress(UnusablePicture):
            avif.check(damaged)
            door.open_picture(damaged, at_least=32)


FILES = [encoded(drawn(), "AVIF"), encoded(drawn("RGBA"), "AVIF"), movie(2, 64)]
