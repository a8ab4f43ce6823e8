"""Pictures whose label is probably wrong, found without a person looking at all of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from greenr_luigi import calibration, heads
from greenr_luigi.architectures import head_for
from greenr_luigi.calibration import Floats, Ints
from greenr_luigi.manifest import SplitRow
from greenr_luigi.progress import OnProgress

FOLDS = 5
EPOCHS = 20


class Suspect(NamedTuple):
    """A picture, the label it has, the one it more probably ought to have, and how probable its own label is
    to a model that did not learn from it."""

    file: str
    label: str
    suggested: str
    probability: float


def out_of_fold(
    features: torch.Tensor, labels: Ints, classes: int, seed: int, progress: OnProgress
) -> Floats:
    """Probabilities (pictures, classes) of each picture from a head that was trained on the other folds only.

    features: as `features.pooled` gives them.
    """
    from sklearn.model_selection import StratifiedKFold

    folds = max(2, min(FOLDS, int(np.bincount(labels, minlength=classes).min())))
    y = torch.from_numpy(labels)
    found = np.zeros((len(labels), classes))
    for i, (rest, fold) in enumerate(
        StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
    ):
        progress(i / folds, f"looking for wrong labels: part {i + 1} of {folds}")
        head = head_for(features, classes, seed)
        heads.fit(
            head, (features[rest], y[rest]), (features[fold], y[fold]), EPOCHS, seed, lambda f, words: None
        )
        head.eval()
        with torch.inference_mode():
            found[fold] = calibration.softmax(head(features[fold]).numpy())
    return found


def find(rows: Sequence[SplitRow], probabilities: Floats, classes: list[str]) -> list[Suspect]:
    """Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in
    Dataset Labels", 2021) over out-of-fold probabilities (pictures, classes), by cleanlab: the most
    suspicious picture first. None if a class has fewer than two pictures."""
    from cleanlab.filter import find_label_issues

    labels = np.array([classes.index(row.label) for row in rows])
    if np.bincount(labels, minlength=len(classes)).min() < 2:
        return []
    ranked = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    found = []
    for i in map(int, ranked):
        others = probabilities[i].copy()
        others[labels[i]] = -1
        found.append(
            Suspect(
                rows[i].file, rows[i].label, classes[int(others.argmax())], float(probabilities[i, labels[i]])
            )
        )
    return found


def write(path: Path, found: list[Suspect]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Suspect._fields)
        writer.writerows([*suspect[:3], f"{suspect.probability:.6g}"] for suspect in found)


def read(path: Path) -> list[Suspect]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Suspect(r["file"], r["label"], r["suggested"], float(r["probability"]))
            for r in csv.DictReader(file)
        ]
