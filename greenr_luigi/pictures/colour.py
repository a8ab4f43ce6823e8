"""From the colours that a picture's profile describes to sRGB, as browsers show them: relative colorimetric, with black
point compensation."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

#: Bytes of a profile. A printer's has up to 3 MB, a camera's or a screen's up to 60 KB.
MAX_PROFILE = 4 * 2**20
#: Profiles up to this size come again and again, and their conversions are kept.
COMMON = 2**16
#: Tags of multi-process elements (ICC.1:2022, 10.16), beside those that all profiles have: 160 KB of steps without end
#: took 12 s. They stand among the first 100 tags, more of which lcms does not read.
ENDLESS, TAGS = re.compile(rb"D2B[0-3]|B2D[0-3]"), slice(128, 132 + 12 * 100)
#: Of 255: a profile that changes less is sRGB by another name.
ROUNDING = 1
#: Chromaticities of sRGB, x and y: white, red, green, blue.
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: Those of other screens and films, by their numbers in ITU-T H.273, Table 2.
PRIMARIES = {
    1: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (0.3127, 0.3290, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
#: Transfer functions by their numbers in Table 3.
OF_VIDEO, OF_SRGB = (1, 6, 14, 15), 13
#: How values become light, by these numbers: an exponent, that of screens (BT.1886) for video, or the parameters of
#: ICC's parametric curve 3. Pictures brighter than white (16 and 18) are passed by: each browser shows them in its own
#: way.
TRANSFERS: dict[int, Sequence[float]] = {
    **dict.fromkeys(OF_VIDEO, (2.4,)),
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    OF_SRGB: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    17: (2.6,),
}
#: The white of profiles, D50, and the Bradford matrix, which adapts another white to it.
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def conversion(profile: bytes | None, mode: str) -> ImageCmsTransform | None:
    """What converts a picture of Pillow's `mode`, or RGB that was made of it, to sRGB; its `input_mode` says which it
    takes. None for sRGB itself, and for a profile that cannot be used: of another kind of picture, too large, or torn.
    """
    if mode == "LAB":
        return _of_lab()
    takes = _takes(profile[16:20], mode) if profile else None
    if profile is None or takes is None or len(profile) > MAX_PROFILE:
        return None
    profile = profile[: TAGS.start] + ENDLESS.sub(b"none", profile[TAGS]) + profile[TAGS.stop :]
    return (_common if len(profile) <= COMMON else _transform)(profile, takes)


def _takes(space: bytes, mode: str) -> str | None:
    """The mode of pixels that a profile of such a colour space is for."""
    if mode == "CMYK":
        return "CMYK" if space == b"CMYK" else None
    grey = mode.startswith(("L", "1", "I"))
    return {b"RGB ": "RGB", b"GRAY": "L" if grey else None}.get(space)


def _transform(profile: bytes, mode: str) -> ImageCmsTransform | None:
    import io

    from PIL import ImageCms

    try:
        made = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "CMYK":
            return made
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        every = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
        swatch = Image.fromarray(every).convert(mode)
        after, before = made.apply(swatch), swatch.convert("RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError):
        return None
    changed = np.abs(np.asarray(after).astype(int) - np.asarray(before)).max()
    return made if changed > ROUNDING else None


@functools.cache
def _of_lab() -> ImageCmsTransform:
    """A TIFF may hold colours that need no profile."""
    from PIL import ImageCms

    return ImageCms.buildTransform(
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        "LAB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )


_common = functools.lru_cache(maxsize=16)(_transform)


@functools.lru_cache(maxsize=16)
def coded(primaries: int, transfer: int) -> bytes | None:
    """An ICC profile of what two numbers of ITU-T H.273 say, as a PNG (cICP) or an AVIF (nclx) may tell it. None for
    numbers that are not known."""
    curve = TRANSFERS.get(transfer)
    return _profile(curve, PRIMARIES[primaries]) if curve and primaries in PRIMARIES else None


def profile(gamma: float, chromaticities: Sequence[float] = SRGB) -> bytes | None:
    """An ICC profile of RGB values that are light to the power of `gamma`, as a PNG may tell it (gAMA, cHRM);
    `chromaticities` as in SRGB. None for what is no set of colours."""
    return _profile((1 / gamma,), chromaticities) if gamma else None


def _profile(decoding: Sequence[float], chromaticities: Sequence[float]) -> bytes | None:
    """`decoding`: as in TRANSFERS."""
    try:
        with np.errstate(all="raise"):
            x, y = np.array(chromaticities).reshape(4, 2).T
            white, *primaries = np.stack([x / y, np.ones(4), (1 - x - y) / y], -1)
            columns = np.array(primaries).T
            columns = columns * np.linalg.solve(columns, white)
            adapted = (
                np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD @ columns
            )
            colorants = [b"XYZ \0\0\0\0" + _fixed(column) for column in adapted.T]
            curve = b"para" + struct.pack(">4xH2x", 3 if len(decoding) > 1 else 0) + _fixed(decoding)
    except (ArithmeticError, ValueError, struct.error):
        return None
    names, at = [b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"], 128 + 4 + 6 * 12
    places = [(at, 20), (at + 20, 20), (at + 40, 20), *[(at + 60, len(curve))] * 3]
    tags = b"".join(struct.pack(">4sII", name, *place) for name, place in zip(names, places, strict=True))
    head = struct.pack(
        ">II4s4s4s4s12x4s28x", at + 60 + len(curve), 0, b"\4\x30\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    return (head + _fixed(D50)).ljust(128, b"\0") + struct.pack(">I", 6) + tags + b"".join(colorants) + curve


def _fixed(values: Sequence[float] | np.ndarray) -> bytes:
    """As s15Fixed16Number."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)
