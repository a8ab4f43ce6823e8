"""The door that every picture passes: what comes in upright and whole, what is refused and why, and bombs."""

from __future__ import annotations

import io
import pickle
import resource
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from greenr_luigi.pictures import door, flatten, hashing
from greenr_luigi.pictures.door import UnusablePicture, open_picture, square
from tests.pictures import WHOLE


def drawn(mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Red on the left, blue on the right, a white mark at the top left."""
    image = Image.new("RGB", size, "blue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 2, size[1]), "red")
    draw.rectangle((0, 0, size[0] // 8, size[1] // 8), "white")
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(UnusablePicture) as found:
        open_picture(data, at_least=224)
    assert len(str(found.value)) > 20
    return found.value.reason


@pytest.mark.parametrize("kind", door.FORMATS)
def test_every_format_of_the_list_comes_in_as_rgb(kind: str) -> None:
    image = open_picture(encoded(drawn(), kind), WHOLE)
    assert image.mode == "RGB" and image.size == (96, 64)
    left, right = image.getpixel((20, 40)), image.getpixel((80, 40))
    assert left[0] > 200 > 60 > left[2] and right[2] > 200 > 60 > right[0]


def test_formats_come_in_where_nothing_else_has_loaded_pillow() -> None:
    """In a fresh process each, as a web worker is: Pillow knows only the plugins that were asked for."""
    code = (
        "import os, pickle, sys; from greenr_luigi.pictures.door import open_picture\n"
        "for data in pickle.load(sys.stdin.buffer):\n"
        "    if not (child := os.fork()):\n"
        "        os._exit(open_picture(data, 64) is None)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    pictures = [encoded(drawn(), kind) for kind in door.FORMATS]
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(pictures), check=True)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG"),
     ("RGBA", "WEBP"), ("I;16", "PNG")],
)  # fmt: skip
def test_every_mode_comes_in_as_rgb(mode: str, kind: str) -> None:
    if mode == "I;16":
        source = Image.fromarray((np.arange(96 * 64, dtype=np.uint16) * 10).reshape(64, 96))
    else:
        source = drawn(mode)
    image = open_picture(encoded(source, kind), WHOLE)
    assert image.mode == "RGB" and image.size == (96, 64)


def test_16_bit_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    seen = np.asarray(open_picture(encoded(Image.fromarray(ramp), "PNG"), WHOLE))[..., 0]
    assert abs(int(seen[32, 0]) - 128) <= 1 and seen.min() == 0 and seen.max() == 255


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert open_picture(encoded(clear, "PNG"), WHOLE).getpixel((30, 30)) == (255, 255, 255)
    palette = drawn("P")
    assert (
        open_picture(encoded(palette, "GIF", transparency=palette.getpixel((80, 40))), WHOLE).getpixel(
            (80, 40)
        )
        == (255,) * 3
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_in_upright(orientation: int) -> None:
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # What undoes it, as Image.Transpose counts.
    image = drawn() if orientation == 1 else drawn().transpose(Image.Transpose(turned[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = open_picture(encoded(image, "JPEG", exif=exif, quality=95), at_least=32)
    assert upright.width > upright.height
    assert min(upright.getpixel((1, 1))) > 180 and upright.getpixel((upright.width - 3, 8))[2] > 180


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(data, WHOLE).getpixel((30, 30))[0] > 200


def test_a_large_jpeg_is_decoded_small_yet_never_too_small() -> None:
    data = encoded(drawn(size=(4000, 3000)), "JPEG")
    assert min(open_picture(data, at_least=224).size) >= 224
    assert open_picture(data, at_least=224).width <= 1000
    whole = square(open_picture(data, WHOLE), 224).astype(int)
    assert np.abs(square(open_picture(data, at_least=224), 224).astype(int) - whole).mean() < 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L", "I;16", "1"])
def test_a_large_picture_of_any_mode_is_shrunk_as_it_is_flattened(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strip by strip or whole, the pixels are the same, and upright; memory is not wanted for a whole one in RGB."""
    wide = drawn("RGB", (1003, 701))
    grey = np.asarray(wide.convert("L"))
    image = Image.fromarray(grey.astype(np.uint16) * 200) if mode == "I;16" else wide.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(wide.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(image, "PNG", exif=exif)
    whole = door.open_picture(data, WHOLE)
    monkeypatch.setattr(door, "LARGE", 100_000)
    monkeypatch.setattr(flatten, "STRIP", 64)
    small = door.open_picture(data, at_least=100)
    assert small.size == (-(-701 // 3), -(-1003 // 3)) and whole.size == (701, 1003)
    upright = whole.transpose(Image.Transpose.ROTATE_90).reduce(3).transpose(Image.Transpose.ROTATE_270)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(upright)).max() <= 1


@pytest.mark.slow
def test_some_formats_may_have_fewer_pixels() -> None:
    """50 megapixels in PNG are read, in WebP they are not."""
    large = drawn(size=(7000, 7000))
    assert refusal(encoded(large, "WEBP", method=0)) == "too-large"
    assert open_picture(encoded(large, "PNG", compress_level=1), at_least=224).size == (467, 467)


def test_names_do_not_count() -> None:
    assert refusal(b"GIF89a") == "broken"
    assert refusal(b"") == refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "format"
    for kind in ("TIFF", "PPM", "ICO", "PCX", "TGA", "EPS", "JPEG2000", "PDF"):
        assert refusal(encoded(drawn(), kind)) == "format"


def test_pictures_opened_at_once_leave_the_filters_of_warnings_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second comes in before the first is out, and stays longer."""
    before, pillow_open = [*warnings.filters], Image.open
    inside = {"first": threading.Event(), "second": threading.Event()}
    go_on = {"first": threading.Event(), "second": threading.Event()}

    def paused_open(*arguments: object, **options: object) -> Image.Image:
        name = threading.current_thread().name
        inside[name].set()
        assert go_on[name].wait(60)
        return pillow_open(*arguments, **options)

    monkeypatch.setattr(Image, "open", paused_open)
    threads = {
        name: threading.Thread(target=open_picture, args=(PARTS[0], WHOLE), name=name) for name in inside
    }
    for name, thread in threads.items():
        thread.start()
        assert inside[name].wait(60)
    for name, thread in threads.items():
        go_on[name].set()
        thread.join()
    assert warnings.filters == before


def test_what_pillow_only_warns_of_is_refused() -> None:
    assert refusal(png(12_000, 9_000, chunk(b"IDAT", zeros(2**20)))) == "too-large"


def test_too_small_too_large_truncated() -> None:
    assert refusal(encoded(drawn(size=(31, 400)), "PNG")) == "too-small"
    assert refusal(b"\xff\xd8\xff" + b"0" * door.MAX_BYTES) == "too-large"
    for kind in door.FORMATS:
        data = encoded(drawn(size=(640, 480)), kind)
        assert refusal(data[: len(data) // 2]) in ("broken", "format"), kind
    assert refusal(encoded(drawn(size=(640, 480)), "JPEG")[:-20]) == "broken"


def chunk(name: bytes, body: bytes = b"", checksum: int | None = None) -> bytes:
    found = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", found)


def png(width: int, height: int, *chunks: bytes, depth: int = 8, kind: int = 2) -> bytes:
    """A PNG, chunk by chunk, whatever it says of itself. `kind`: its colour type."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", head, *chunks, chunk(b"IEND")])


def zeros(count: int) -> bytes:
    """`count` zero bytes, deflated: a mebibyte of them, so often, and their checksum."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (count // 2**20) + packer.flush() + struct.pack(">HH", count % 65521, 1)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0, 0, 0) + bytes(6) + b"," + struct.pack(
        "<HHHHB", 0, 0, width, height, 0
    ) + b"\x02\x02\x44\x01\x00;"  # fmt: skip


def bombs() -> dict[str, bytes]:
    """Small files that unpack to a gigabyte or more, or say that they do."""
    webp = bytearray(encoded(Image.new("RGB", (64, 64)), "WEBP", lossless=True))
    webp[21:25] = (
        b"\xff\xff\xff\x0f"  # After the signature 0x2f: 14 bits of width - 1, 14 bits of height - 1.
    )
    gigabyte = zeros(2**30)
    return {
        "png": png(20000, 18000, chunk(b"IDAT", gigabyte)),
        "png that lies": png(60000, 60000, chunk(b"IDAT", zeros(2**20))),
        "png text": png(64, 64, chunk(b"zTXt", b"k\0\0" + gigabyte), chunk(b"IDAT", zeros(2**20))),
        "png profile": png(64, 64, chunk(b"iCCP", b"k\0\0" + gigabyte), chunk(b"IDAT", zeros(2**20))),
        "webp": bytes(webp),
        "gif": gif(65535, 65535),
        "bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
        "tiff": encoded(Image.new("1", (30000, 30000)), "TIFF", compression="group4"),
        "jpeg": encoded(Image.new("L", (8000, 8000)), "JPEG", quality=1),
    }


@pytest.mark.slow
def test_bombs_are_refused_before_they_go_off() -> None:
    made = bombs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in made.items():
        assert len(data) < 2 * 2**20, name
        # Neither is unpacked beyond its limit, and the picture is whole.
        if name in ("png text", "png profile"):
            assert open_picture(data, WHOLE).size == (64, 64)
        else:
            assert refusal(data) in ("too-large", "broken", "format"), name
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150, f"{grown:.0f} MB"


PARTS = [encoded(drawn(), kind) for kind in door.FORMATS]


@pytest.mark.slow
@given(st.binary(max_size=300), st.sampled_from(PARTS), st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_comes_is_a_picture_or_refused(noise: bytes, part: bytes, data: st.DataObject) -> None:
    """Cut, overwritten and spliced pictures of every format never raise anything but UnusablePicture."""
    where = data.draw(st.integers(0, len(part)))
    until = data.draw(st.integers(where, len(part)))
    for broken in (noise, part[:where] + noise, part[:where] + noise + part[until:]):
        try:
            image = open_picture(broken, at_least=32)
        except UnusablePicture:
            continue
        assert image.mode == "RGB" and square(image, 32).shape == (32, 32, 3)


@given(st.integers(32, 300), st.integers(32, 300), st.sampled_from(door.FORMATS), st.integers(32, 300))
@settings(max_examples=60, deadline=None)
def test_any_shape_becomes_a_square(width: int, height: int, kind: str, size: int) -> None:
    pixels = square(open_picture(encoded(drawn(size=(width, height)), kind), at_least=size), size)
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8


def test_hashes_and_endings(tmp_path: Path) -> None:
    data = encoded(drawn(), "JPEG", quality=95)
    other = encoded(drawn(), "JPEG", quality=60)
    assert door.sha256(data) != door.sha256(other)
    first, second = (int(hashing.dhash(open_picture(one, WHOLE)), 16) for one in (data, other))
    assert (first ^ second).bit_count() <= 6
    assert [door.suffix(encoded(drawn(), kind)) for kind in ("JPEG", "PNG", "WEBP")] == [
        ".jpg",
        ".png",
        ".webp",
    ]
