"""HEIC: what is read and how, what it may cost, and that its decoder harms no other process and outlives none."""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from greenr_luigi import cores
from greenr_luigi.pictures import apart, avif, colour, door, heif, kinds
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.terms import Terms
from tests.pictures import WHOLE
from tests.pictures.test_door import drawn, encoded


def heic(image: Image.Image, **how: Any) -> bytes:
    buffer = io.BytesIO()
    file = pillow_heif.from_pillow(image)
    file.save(buffer, **{"quality": 95, "chroma": 444, "enc_params": {"preset": "ultrafast"}} | how)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(door.open_picture(data, WHOLE)).astype(int)


def like(data: bytes, image: Image.Image) -> bool:
    """But for what coding loses."""
    return bool(np.abs(pixels(data) - np.asarray(image.convert("RGB"))).mean() < 3)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    apart.DECODERS.end()


@pytest.fixture
def none_is_idle() -> Iterator[None]:
    """No process is there before, and none is left that is unlike those of other tests."""
    apart.DECODERS.end()
    yield
    apart.DECODERS.end()


@pytest.fixture
def decoder_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, none_is_idle: None
) -> Callable[[str], None]:
    """Has something done where a file that ends in "bad" is opened, in the place of a decoder's fault."""

    def does(what: str) -> None:
        (tmp_path / "pillow_heif").mkdir()
        (tmp_path / "pillow_heif" / "__init__.py").write_text(
            "import os, signal, sys, time\n"
            "class options: pass\n"
            "this = sys.modules[__name__]\n"
            f"sys.path.remove({str(tmp_path)!r})\n"
            f"del sys.modules['pillow_heif']\n"
            "import pillow_heif as real\n"
            "sys.modules['pillow_heif'] = this\n"
            "def open_heif(data):\n"
            f"    if data.endswith(b'bad'): {what}\n"
            "    return real.open_heif(data)\n"
        )
        monkeypatch.syspath_prepend(tmp_path)

    return does


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_heic_is_read_as_what_it_was_made_of(mode: str) -> None:
    assert like(heic(drawn(mode)), drawn(mode))
    assert like(heic(drawn(mode), chroma=420), drawn(mode))


def test_transparency_is_white_and_tiles_make_one_picture() -> None:
    for mode in ("RGBA", "LA"):
        clear = drawn(mode)
        clear.putalpha(Image.fromarray(np.repeat([[0] * 96, [255] * 96], 32, 0).astype(np.uint8)))
        seen = pixels(heic(clear, quality=-1))
        assert (seen[:30] > 250).all()
        assert np.abs(seen[34:] - np.asarray(drawn(mode).convert("RGB"))[34:]).mean() < 3
    large = drawn(size=(700, 500))
    data = heic(large, tile_size=256)
    assert data.count(b"hvc1") > 4 and like(data, large)


def test_ten_bits_are_eight() -> None:
    values = (np.asarray(drawn()).astype(np.uint16) << 8).tobytes()
    buffer = io.BytesIO()
    pillow_heif.encode("RGB;16", (96, 64), values, buffer, quality=95, chroma=444)
    assert like(buffer.getvalue(), drawn())


@pytest.mark.parametrize("turn", range(1, 9))
def test_it_is_turned_once_by_its_boxes_and_never_by_exif(turn: int) -> None:
    exif = Image.Exif()
    exif[0x112] = turn
    file = pillow_heif.from_bytes("RGB", (96, 64), drawn().tobytes())
    file.info["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    file.save(buffer, quality=95, chroma=444)
    data = buffer.getvalue()
    upright = door.open_picture(
        encoded(drawn(), "JPEG", exif=exif.tobytes(), quality=100, subsampling=0), WHOLE
    )
    assert like(data, upright)
    row = examine(data, "", "")
    assert (row.width, row.height) == upright.size and row.file.endswith(".heic")
    # Its EXIF data say something as well, whatever that is.
    assert b"Exif\0\0" in data and (b"irot" in data or b"imir" in data) == (turn > 1)
    told = data.index(struct.pack(">HHI", 0x112, 3, 1)) + 8
    for other in (1, 6):
        assert like(data[:told] + struct.pack(">H", other) + data[told + 2 :], upright)


def test_colours_are_those_of_its_profile() -> None:
    plain = Image.new("RGB", (96, 64), (200, 100, 50))
    plain.info["icc_profile"] = colour.coded(12, 13)
    png = door.open_picture(encoded(plain, "PNG", icc_profile=plain.info["icc_profile"]), WHOLE)
    seen = pixels(heic(plain))
    assert np.abs(seen - np.asarray(png)).max() <= 4
    assert np.abs(seen - np.asarray(plain)).max() > 10


@pytest.mark.slow
def test_a_large_one_is_shrunk_and_limits_are_those_of_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = door.read(heic(Image.new("RGB", (2_400, 2_000)), quality=10), 224)
    assert picture.size == (2_400, 2_000) and min(picture.image.size) >= 448 > picture.image.width // 2
    with pytest.raises(door.UnusablePicture, match="each side must have at least 97") as found:
        door.read(heic(drawn()), 224, terms=Terms(97))
    assert found.value.reason == "too-small"
    data = heic(drawn()).replace(struct.pack(">II", 96, 64), struct.pack(">II", 5_200, 5_000))
    with pytest.raises(door.UnusablePicture, match="5200 x 5000 pixels; at most 25,000,000"):
        door.read(data, 224)
    with pytest.raises(door.UnusablePicture, match="the file has"):
        door.read(heic(drawn()) + bytes(door.MAX_BYTES), 224)


def cost(data: bytes) -> float:
    start, end = next((start, end) for name, start, end in avif.boxes(data, 0, len(data)) if name == b"meta")
    return heif._cost(data, start, end)


def test_what_counts_are_the_video_data_and_not_what_is_said_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (640, 512)
    data = heic(drawn(size=size), chroma=420)
    assert size[0] * size[1] < cost(data) < 1.1 * size[0] * size[1]
    assert 1.5 < cost(heic(drawn(size=size))) / cost(data) < 1.7
    said = data.replace(struct.pack(">II", *size), struct.pack(">II", 64, 64))
    assert said != data and cost(said) == cost(data)
    tiles = heic(drawn(size=size), chroma=420, tile_size=256)
    assert 1.1 < cost(tiles) / cost(data) < 1.4
    clear = heic(drawn("RGBA", size), chroma=420)
    assert cost(clear) > 1.9 * cost(data)
    monkeypatch.setattr(heif, "MAX_COST", 100_000)
    monkeypatch.setattr(apart, "decode", lambda *_: pytest.fail("it is decoded"))
    for costly in (data, said, tiles, clear):
        with pytest.raises(door.UnusablePicture, match="costs as much as") as found:
            pixels(costly)
        assert found.value.reason == "too-large"


def test_without_the_extra_it_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "is_read", lambda: False)
    with pytest.raises(
        door.UnusablePicture, match=r"a HEIC photograph.*pip install 'greenr_luigi\[heic\]'"
    ) as found:
        pixels(heic(drawn()))
    assert found.value.reason == "format"


@pytest.mark.parametrize("kind", [b"jpeg", b"avc1", b"iovl", b"unci"])
def test_what_is_made_in_another_way_is_refused_in_words(kind: bytes) -> None:
    data = heic(drawn())
    at = data.index(b"hvc1")
    with pytest.raises(
        door.UnusablePicture, match=f"made in a way.*{kind.decode()}.*share it as JPEG"
    ) as found:
        pixels(data[:at] + kind + data[at + 4 :])
    assert found.value.reason == "format"


@pytest.mark.parametrize("left", [20, 28, 700, -1])
def test_one_cut_short_is_told_to_be_so_in_a_line(left: int) -> None:
    with pytest.raises(door.UnusablePicture) as found:
        pixels(heic(drawn(size=(300, 200)))[:left])
    assert (found.value.reason, f"{found.value}") == (
        "broken", "the picture breaks off before its end: copy or download it again, whole",
    )  # fmt: skip


def test_a_movie_beside_a_picture_is_left_out_and_one_alone_refused() -> None:
    beside = heic(drawn()) + struct.pack(">I4s", 16, b"moov") + bytes(8)
    assert b"moov" not in heif.still(beside) and like(beside, drawn())
    movie = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"msf1", 0, b"hevc", b"msf1") + struct.pack(
        ">I4s", 8, b"moov"
    )
    with pytest.raises(door.UnusablePicture, match="is a movie, which is not read"):
        pixels(movie)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8), st.booleans())
def test_whatever_its_boxes_say_they_are_read(at: int, change: bytes, cut: bool) -> None:
    data = SAMPLE
    at %= len(data)
    data = data[:at] + change + (b"" if cut else data[at + len(change) :])
    with contextlib.suppress(door.UnusablePicture):
        if kinds.format_of(data) == "HEIC":
            heif.still(data)


def test_boxes_that_would_take_long_to_read_are_refused() -> None:
    reference = struct.pack(">I4sHH", 12 + 2 * 60_000, b"dimg", 1, 60_000) + bytes(2 * 60_000)
    with pytest.raises(door.UnusablePicture, match="more than 5,000 parts"):
        heif._references(bytes(4) + reference, 0, 4 + len(reference))
    data = heic(drawn())
    (at,) = (start for name, start, _ in avif.boxes(data, 0, len(data)) if name == b"meta")
    (first, last) = heif._inside(data, at + 4, len(data))[b"pitm"]
    twice = data[: first - 8] + data[first - 8 : last] * 2 + data[last:]
    size = at - 8
    twice = (
        twice[:size]
        + struct.pack(">I", struct.unpack_from(">I", data, size)[0] + last - first + 8)
        + twice[size + 4 :]
    )
    for damaged in (twice, data + struct.pack(">I4s", 1, b"free")):
        with pytest.raises(door.UnusablePicture, match="its boxes are damaged"):
            heif.still(damaged)


SAMPLE = heic(drawn("RGBA"), tile_size=0)[:700]


@pytest.mark.slow
@pytest.mark.usefixtures("none_is_idle")
def test_one_process_reads_many_and_each_thread_has_one() -> None:
    data = heic(drawn())
    pixels(data)
    (first,) = apart.DECODERS.idle
    pixels(data)
    assert [first] == apart.DECODERS.idle
    with ThreadPoolExecutor(4) as pool:
        assert len([*pool.map(pixels, [data] * 20)]) == 20
    assert first in apart.DECODERS.idle and len(apart.DECODERS.idle) <= cores.allowed()


@pytest.mark.slow
def test_a_crash_of_the_decoder_refuses_the_picture_and_the_next_is_read(
    decoder_that: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder_that("os.kill(os.getpid(), signal.SIGSEGV)")
    data = heic(drawn())
    for _ in range(2):
        with pytest.raises(
            door.UnusablePicture, match=r"it ends the process that decodes it.*save it anew"
        ) as found:
            pixels(data + b"bad")
        assert found.value.reason == "broken"
        assert like(data, drawn())


@pytest.mark.slow
def test_a_picture_without_end_is_given_up(
    decoder_that: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder_that("time.sleep(600)")
    data = heic(drawn())
    pixels(data)
    (first,) = apart.DECODERS.idle
    monkeypatch.setattr(apart, "SECONDS", 0.2)
    with pytest.raises(door.UnusablePicture, match="takes too long"):
        pixels(data + b"bad")
    assert first.process.returncode == -signal.SIGKILL
    monkeypatch.setattr(apart, "SECONDS", 60)
    assert like(data, drawn())


@pytest.mark.slow
def test_a_picture_that_takes_the_processor_is_given_up(
    decoder_that: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder_that("exec('while True: pass')")
    monkeypatch.setattr(apart, "SECONDS", 120)
    with pytest.raises(door.UnusablePicture, match="takes too long"):
        pixels(heic(drawn()) + b"bad")


@pytest.mark.slow
def test_memory_is_bounded(decoder_that: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder_that("bytearray(2**30)")
    data = heic(drawn())
    with pytest.raises(door.UnusablePicture):
        pixels(data + b"bad")
    assert like(data, drawn())


@pytest.mark.usefixtures("none_is_idle")
def test_one_that_died_while_it_was_idle_is_replaced() -> None:
    data = heic(drawn())
    dead = [apart.DECODERS._started() for _ in range(3)]
    for one in dead:
        one.process.kill()
        one.process.wait()
    apart.DECODERS.idle.extend(dead)
    assert like(data, drawn()) and apart.DECODERS.idle[-1] not in dead


@pytest.mark.parametrize(
    "lie", [{"size": [9, 9], "image": [9, 9]}, {"size": [9], "image": [9, 9]}, {"size": "x"}, {}, [], "size"]
)
def test_what_a_decoder_says_is_not_believed(lie: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart.Decoders, "ask", lambda *_: (lie, bytes(3 * 80)))
    with pytest.raises(door.UnusablePicture, match="says one thing"):
        pixels(heic(drawn()))


def test_it_ends_with_the_process_that_has_started_it_however_that_ends(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(heic(drawn()))
    code = (
        "import sys, pathlib, threading, time\nfrom greenr_luigi.pictures import apart, door\n"
        f"data = pathlib.Path({str(tmp_path / 'a.heic')!r}).read_bytes()\n"
        # The thread that asked has long ended.
        "thread = threading.Thread(target=door.open_picture, args=(data, 224))\n"
        "thread.start(); thread.join(); door.open_picture(data, 224)\n"
        "print(apart.DECODERS.idle[0].process.pid, len(apart.DECODERS.idle), flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, count = map(int, parent.stdout.readline().split())
        assert count == 1
        ended = os.pidfd_open(pid)
        parent.kill()
    assert select.select([ended], [], [], 30)[0]
    os.close(ended)
