"""The heat map of an answer: where in the picture the evidence lies, as a small colour picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from greenr_luigi.pictures.thumbnail import data_address

Floats = np.ndarray[Any, np.dtype[np.float32]]
#: How much finer the map is drawn than the model's own grid.
FINER = 4
#: Matplotlib's inferno at equal steps: its brightness grows evenly, so it reads without colour vision too.
INFERNO = bytes.fromhex("000004 1f0c48 550f6d 88226a ba3655 e35933 f98c0a f9c932 fcffa4")


def class_map(maps: Floats, number: int) -> Floats:
    """From class activation maps (classes, h, w), the map of one class: (h, w), 0 to 1.

    Softmax sees only differences between classes, so the map is taken against the mean of all; what speaks against
    the class is cut off. After B. Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.
    """
    evidence: Floats = np.maximum(maps[number] - maps.mean(axis=0), 0)
    highest = evidence.max()
    return evidence / highest if highest > 0 else evidence


def draw(evidence: Floats) -> str:
    """A map (h, w) of 0 to 1 as a PNG in a data address, to be laid over the whole picture."""
    height, width = evidence.shape
    grey = Image.fromarray(evidence).resize((width * FINER, height * FINER), Image.Resampling.BICUBIC)
    scale = np.frombuffer(INFERNO, np.uint8).reshape(-1, 3)
    level = np.asarray(grey).clip(0, 1) * (len(scale) - 1)
    colours = np.stack([np.interp(level, range(len(scale)), channel) for channel in scale.T], axis=-1)
    return data_address(Image.fromarray(colours.astype(np.uint8)), "PNG")
