"""A second perceptual hash, which tells apart what `pictures.dhash` alone does not."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE, KEPT = 32, 12
#: Rows of the orthonormal DCT-II: shape (KEPT, SIDE).
_BASIS = np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), np.arange(SIDE) + 0.5)) * np.sqrt(2 / SIDE)
_BASIS[0] /= np.sqrt(2)


def phash(image: Image.Image) -> str:
    """A 144-bit perceptual hash as 36 hex digits: whether each of the 12 x 12 lowest frequencies of a 32 x 32
    grey thumbnail is above their median; the first, which is the mere brightness, is always 0 (Christoph
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, with more
    frequencies)."""
    grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(np.float64)
    waves = (_BASIS @ grey @ _BASIS.T).ravel()
    bits = waves > np.median(waves[1:])
    bits[0] = False
    return np.packbits(bits).tobytes().hex()
