"""What the door makes of a picture is what Chromium shows of it on white paper."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from greenr_luigi.pictures import colour, door
from tests.pictures import WHOLE
from tests.pictures import test_colour as colours
from tests.pictures import test_trimmings as trimmings
from tests.pictures.test_door import chunk, drawn, encoded
from tests.web import browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed"),
]

#: Draws each picture on white and tells its pixels; null for one that is not shown.
DRAW = """
const [addresses, done] = arguments;
Promise.all(addresses.map(async address => {
  const image = new Image();
  image.src = address;
  try { await image.decode(); } catch { return null; }
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
})).then(done);
"""
PROFILES = {
    "old Mac": colours.OLD_MAC,
    "Display P3": colour.profile(0.45455, colours.P3),
    "linear": colour.profile(1),
    "wide": colour.profile(0.5556, (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)),
}


def cases() -> Iterator[tuple[str, bytes]]:
    for name, told in trimmings.CHUNKS.items():
        yield f"before: {name}", trimmings.png_with(before=told)
        yield f"after: {name}", trimmings.png_with(after=told)
    for name, segment in trimmings.SEGMENTS.items():
        data = encoded(drawn(), "JPEG")
        yield name, data[:20] + segment + data[20:]
    for name, (damaged, _) in trimmings.OTHERS.items():
        # Of these it says that they are shown and draws nothing, or a part.
        if not any(word in name for word in ("size", "cut", "loop")):
            yield name, damaged
    for name, profile in PROFILES.items():
        for kind, mode in (
            ("JPEG", "RGB"),
            ("PNG", "RGB"),
            ("PNG", "P"),
            ("PNG", "L"),
            ("WEBP", "RGB"),
            ("AVIF", "RGB"),
        ):
            how = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"quality": 95, "lossless": True}
            yield (
                f"{name}, {kind} of {mode}",
                encoded(colours.scene().convert(mode), kind, icc_profile=profile, **how),
            )
        clear = colours.scene().convert("RGBA")
        clear.putalpha(colours.scene().convert("L"))
        yield f"{name}, half clear", encoded(clear, "PNG", icc_profile=profile)
    for numbers in itertools.product((1, 4, 5, 9, 11, 12), (1, 4, 5, 8, 13)):
        told = encoded(colours.scene(), "PNG")
        at = told.index(b"IHDR") + 21
        yield f"cICP {numbers}", told[:at] + chunk(b"cICP", bytes([*numbers, 0, 1])) + told[at:]
        told = encoded(colours.scene(), "AVIF", quality=100, subsampling="4:4:4")
        at = told.index(b"colrnclx") + 8
        yield f"nclx {numbers}", told[:at] + struct.pack(">HH", *numbers) + told[at + 4 :]
    for profile in (None, colours.printer()):
        inks = encoded(
            colours.scene().convert("CMYK"), "JPEG", quality=95, subsampling=0, icc_profile=profile
        )
        yield f"inks {bool(profile)}", inks
    for depth in (1, 2, 4, 8, 16):
        yield f"a clear shade of {depth} bits", colours.grey(depth, 2**depth // 2)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"turned {orientation}", encoded(colours.scene(), "JPEG", exif=exif, quality=95)


def test_pictures_are_as_chromium_shows_them() -> None:
    made = dict(cases())
    addresses = [f"data:;base64,{base64.b64encode(data).decode()}" for data in made.values()]
    with browser.chromium() as driver:
        driver.get("data:text/html,<title>x</title>")
        shown = driver.execute_async_script(DRAW, addresses)
    wrong = {}
    for (name, data), address in zip(made.items(), shown, strict=True):
        if address is None:
            wrong[name] = "not shown"
            continue
        theirs = np.asarray(
            Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")
        ).astype(int)
        ours = np.asarray(door.open_picture(data, WHOLE))
        if ours.shape != theirs.shape or np.abs(ours - theirs).mean() > 2:
            wrong[name] = (
                f"{ours.shape} {theirs.shape} {np.abs(ours - theirs).mean() if ours.shape == theirs.shape else ''}"
            )
    assert len(made) > 150 and not wrong
