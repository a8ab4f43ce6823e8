"""Perceptual hashes: pictures that look alike have hashes that differ in few bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from greenr_luigi.pictures.manifest import PerceptualHash

#: The side in pixels to decode to before hashing; the hashes look at 9 x 8 and 32 x 32 of them.
HASHED_SIDE = 128
SIDE, KEPT, PATCHES = 32, 12, 4
#: Rows of the orthonormal DCT-II: shape (KEPT, SIDE).
_BASIS = np.cos(np.pi / SIDE * np.outer(np.arange(KEPT), np.arange(SIDE) + 0.5)) * np.sqrt(2 / SIDE)
_BASIS[0] /= np.sqrt(2)


def perceptual_hash(image: Image.Image) -> PerceptualHash:
    """Both hashes of an RGB image, best decoded with `at_least=HASHED_SIDE`."""
    return PerceptualHash(dhash(image), phash(image))


def dhash(image: Image.Image) -> str:
    """A 64-bit difference hash: whether each pixel of a 9 x 8 grey thumbnail is darker than its right neighbour
    (Neal Krawetz, "Kind of like that", 2013)."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BILINEAR))
    return np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes().hex()


def phash(image: Image.Image) -> str:
    """A 176-bit hash of form and of colour.

    144 bits say whether each of the 12 x 12 lowest frequencies of a 32 x 32 thumbnail is above their median;
    the first, which is the mere brightness, is always 0 (Christoph Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010, with more frequencies). Two times 16 bits say whether each of 4 x 4
    patches has more blue, and more red, than the median patch.
    """
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2).convert("YCbCr")
    colors = np.asarray(small).astype(np.float64)
    waves = (_BASIS @ colors[..., 0] @ _BASIS.T).ravel()
    form = waves > np.partition(waves[1:], len(waves) // 2 - 1)[len(waves) // 2 - 1]
    form[0] = False
    cell = SIDE // PATCHES
    patches = colors[..., 1:].reshape(PATCHES, cell, PATCHES, cell, 2).mean((1, 3)).reshape(-1, 2)
    hues = patches > np.sort(patches, axis=0)[len(patches) // 2 - 1]
    return np.packbits(np.concatenate([form, hues.T.ravel()])).tobytes().hex()
