"""What an exported model says of files. No picture passes a body twice: the body of a model is a part of its file, what
it finds is kept (training/embedding.py), and what stands behind it is one multiplication."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from greenr_luigi.evaluation import calibration, familiarity
from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.staleness import regular
from greenr_luigi.training import embedding

if TYPE_CHECKING:
    from greenr_luigi.export.assembly import Parts

#: Probabilities (pictures, classes) and familiarity (pictures,).
Answers = tuple[Features, Features]
#: Pictures whose answers are computed at once.
AT_ONCE = 1024


def answers(model: Path, card: ModelCard, pictures: Sequence[Path], root: Path | None) -> Answers:
    """Probabilities (pictures, classes) and familiarity (pictures,) by the file of a model, to what float32 rounding
    makes of them. `root`: a data root, where features stay for the next time.

    A model that was put together otherwise, as by an earlier version, is run as it is, and what it says is kept."""
    # It loads onnx, which takes long.
    from greenr_luigi.export import assembly

    data = regular.read(model)
    parts = assembly.taken_apart(data)
    outputs = (embedding.POOLED,) if parts else ("probabilities", "familiarity")
    network = parts.body if parts else data
    embedder = embedding.of_network(network, card.image_size, outputs=outputs, version=card.door_version)
    found = embedding.embedded(embedder, pictures, root, lambda fraction, words: None)
    if not parts:
        return found[:, : len(card.classes)], found[:, len(card.classes) :].max(1, initial=-1.0)
    return by_features(parts, found)


def by_features(parts: Parts, found: Features) -> Answers:
    """What the `parts` of a model make of the pooled features of pictures, as `answers` has it."""
    probabilities = np.empty((len(found), len(parts.bias)), np.float32)
    for start in range(0, len(found), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        logits = found[some] @ parts.weight.T + parts.bias
        probabilities[some] = calibration.softmax(logits.astype(np.float64), parts.temperature)
    return probabilities, familiarity.familiarity(found, parts.centers)
