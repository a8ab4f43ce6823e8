"""The folds of a cross-validation, and the heads that have each not learned from one of them.

All pictures that are not for testing teach a head, and all of them judge it: cross_validation.py."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from greenr_luigi.dataset.rows import LabelRow, class_numbers
from greenr_luigi.training.linear_head import LinearHead, Matrix
from greenr_luigi.training.saved_model import Epoch

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
FOLDS = 5
#: In place of a fold's number: what always teaches and never judges, for its class would have nothing left to learn
#: from.
ALWAYS = -1
NAME = "folds.safetensors"
#: Pictures whose features are copied at once.
AT_ONCE = 1024


def divide(labels: Ints, groups: Sequence[str], seed: int, number: int = FOLDS) -> Ints:
    """The number of the fold of each picture, from 0 to `number` - 1, or ALWAYS: as many pictures of each class in one
    fold as in another, as far as groups let them.

    `labels`: class numbers. `groups`: a name for each picture; those of the same stay together (LabelRow.group, or what
    only this picture has). The order of the pictures does not count."""
    members: dict[str, Counter[int]] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        members.setdefault(group, Counter())[label] += 1

    def order(group: str) -> tuple[int, bytes]:
        """The largest first, as they are the hardest to place; the others are shuffled."""
        digest = hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest()
        return -members[group].total(), digest

    totals = np.bincount(labels).tolist()
    # By class and fold. In plain numbers: of most groups, which are a picture, there is too little for arrays.
    shares, sizes = [[0.0] * number for _ in totals], [0] * number
    of: dict[str, int] = {}
    for group in sorted(members, key=order):
        counts = members[group].items()
        fullness = [round(sum(shares[label][k] * n for label, n in counts), 9) for k in range(number)]
        # Where several have as little of these classes: the one with the fewest pictures.
        chosen = of[group] = min(range(number), key=lambda k: (fullness[k], sizes[k]))
        for label, n in counts:
            shares[label][chosen] += n / totals[label]
            sizes[chosen] += n
    fold = np.array([of[group] for group in groups], np.int64)
    for label in range(len(totals)):
        if len(where := np.unique(fold[labels == label])) == 1 and where[0] != ALWAYS:
            alone = {group for group in members if members[group][label]}
            fold[[group in alone for group in groups]] = ALWAYS
    return fold


def numbers(fold: Ints) -> list[int]:
    """Of the folds that hold pictures."""
    return [int(k) for k in np.unique(fold[fold != ALWAYS])]


def of_rows(rows: Sequence[LabelRow], classes: Sequence[str], seed: int) -> Ints:
    """As `divide`, of the rows of a data set."""
    labels = np.array(class_numbers(rows, classes), np.int64)
    return divide(labels, groups_of(rows), seed)


def groups_of(rows: Sequence[LabelRow]) -> list[str]:
    """As `divide` takes them."""
    return [row.group or row.sha256 for row in rows]


@dataclass(frozen=True)
class OutOfFold:
    """The heads of a cross-validation as matrices (linear_head.py), of each fold the one that has not learned from it:
    `weight` (FOLDS, classes, features) and `bias` (FOLDS, classes), zeros for a fold without pictures. `fold`: as
    `divide` gives it. `history`: means over the folds. `of_all`: the state dict of a head that has learned from all
    beside them; empty where it was read from a file."""

    fold: Ints
    weight: Matrix
    bias: Matrix
    history: list[Epoch] = field(default_factory=list)
    of_all: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def judged(self) -> Bools:
        """Which pictures have an answer."""
        return np.asarray(self.fold != ALWAYS)

    def head(self, number: int) -> LinearHead:
        """What has not learned from that fold."""
        return LinearHead(self.weight[number], self.bias[number])

    def logits(self, x: torch.Tensor) -> Floats:
        """(pictures, classes), from the pictures' features; NaN where there is no answer."""
        found = np.full((len(self.fold), self.bias.shape[1]), np.nan)
        for k in numbers(self.fold):
            for rows in torch.split(torch.from_numpy(np.flatnonzero(self.fold == k)), AT_ONCE):
                found[rows] = self.head(k).logits(x[rows])
        return found

    def error(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """The fraction of the judged pictures that is named wrongly."""
        return float((self.logits(x).argmax(1) != y[: len(self.fold)].numpy())[self.judged].mean())

    def save(self, folder: Path) -> None:
        save_file({"fold": self.fold, "weight": self.weight, "bias": self.bias}, folder / NAME)


def load(model: Path) -> OutOfFold | None:
    """Of a TrainModel folder, without the history; None for a model that was not cross-validated."""
    if not (model / NAME).exists():
        return None
    tensors = load_file(model / NAME)
    return OutOfFold(tensors["fold"], tensors["weight"], tensors["bias"])
