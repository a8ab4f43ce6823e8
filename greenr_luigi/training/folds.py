"""Cross-validation of a head: all pictures that are not for testing teach it, and all of them judge it.

    fold = folds.divide(labels, groups, seed)
    judged = folds.out_of_fold(learn.model[1], x, y, fold, training, on_progress)
    error = judged.error(x, y)

The pictures are divided into folds. Of each fold, a head that has learned from the others says what it sees. So each
picture has an answer of a head that has not learned from it, at the price of as many heads as there are folds, which
is seconds where features are at hand. The head that serves learns from all of them. It has a quarter more to learn
from than those that are judged, so that these are, if anything, a little worse than it."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training import heads
from greenr_luigi.training.saved_model import Epoch, Training

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


def divide(labels: Ints, groups: Sequence[str], seed: int) -> Ints:
    """The number of the fold of each picture, from 0 to FOLDS - 1, or ALWAYS: as many pictures of each class in one
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

    totals = np.bincount(labels)
    shares, sizes = np.zeros((FOLDS, len(totals))), np.zeros(FOLDS, np.int64)
    of: dict[str, int] = {}
    for group in sorted(members, key=order):
        classes, counts = (np.array(values) for values in zip(*members[group].items(), strict=True))
        fullness = shares[:, classes] @ counts
        # Where several have as little of these classes: the one with the fewest pictures.
        of[group] = min(range(FOLDS), key=lambda k: (round(fullness[k], 9), sizes[k]))
        shares[of[group], classes] += counts / totals[classes]
        sizes[of[group]] += counts.sum()
    fold = np.array([of[group] for group in groups], np.int64)
    for label in range(len(totals)):
        if len(where := np.unique(fold[labels == label])) == 1 and where[0] != ALWAYS:
            alone = {group for group in members if members[group][label]}
            fold[[group in alone for group in groups]] = ALWAYS
    return fold


@dataclass(frozen=True)
class OutOfFold:
    """The heads of a cross-validation as matrices (heads.Head), of each fold the one that has not learned from it:
    `weight` (FOLDS, classes, features) and `bias` (FOLDS, classes), zeros for a fold without pictures. `fold`: as
    `divide` gives it. `history`: means over the folds."""

    fold: Ints
    weight: heads.Matrix
    bias: heads.Matrix
    history: list[Epoch] = field(default_factory=list)

    @property
    def judged(self) -> Bools:
        """Which pictures have an answer."""
        return np.asarray(self.fold != ALWAYS)

    def logits(self, x: torch.Tensor) -> Floats:
        """(pictures, classes), from the pictures' features; NaN where there is no answer."""
        found = np.full((len(self.fold), self.bias.shape[1]), np.nan)
        for k in np.unique(self.fold[self.judged]):
            head = heads.Head(self.weight[k], self.bias[k])
            for rows in torch.split(torch.from_numpy(np.flatnonzero(self.fold == k)), AT_ONCE):
                found[rows] = head.logits(x[rows])
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


def out_of_fold(
    head: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    fold: Ints,
    training: Training,
    on_progress: OnProgress,
    **options: Any,
) -> OutOfFold:
    """Train a head for each fold on the pictures of the others. `head` stays as it is.

    `x`: the features of each picture, (pictures, features, 1, 1); it may hold those of further views of them behind, as
    of their mirror images: a multiple of the pictures, in the same order. A head learns from all views of a picture,
    and is judged by the first. Features are not copied. `y`: the class number of each picture. `fold`: as `divide`
    gives it, with at least one picture that is judged. `options`: as of heads.fit."""
    numbers, classes = np.unique(fold[fold != ALWAYS]).tolist(), len(training.classes)
    weight = np.zeros((FOLDS, classes, x[0].numel()), np.float32)
    bias = np.zeros((FOLDS, classes), np.float32)
    epochs, sizes = [], []
    for done, k in enumerate(numbers):
        fitting = part(on_progress, done / len(numbers), (done + 1) / len(numbers))
        of_fold = copy.deepcopy(head)
        rest, held = some_of(x, y, fold != k), some_of(x[: len(y)], y, fold == k)
        history = heads.fit(of_fold, rest, held, training, _named(fitting, done + 1, len(numbers)), **options)
        made = heads.folded(of_fold.eval())
        weight[k], bias[k] = made.weight, made.bias
        epochs.append([astuple(epoch) for epoch in history])
        sizes.append(len(held[1]))
    means = np.average(np.array(epochs), axis=0, weights=sizes)
    return OutOfFold(fold, weight, bias, [Epoch(*row) for row in means.tolist()])


def some_of(x: torch.Tensor, y: torch.Tensor, chosen: Bools) -> heads.Labelled:
    """Of some pictures all views, as of `out_of_fold`, and class numbers."""
    rows = torch.from_numpy(np.flatnonzero(chosen))
    views = len(x) // len(y)
    of_all_views = torch.cat([rows + view * len(y) for view in range(views)])
    return heads.Rows(x, of_all_views), y[rows].repeat(views)


def _named(on_progress: OnProgress, number: int, of: int) -> OnProgress:
    return lambda fraction, words: on_progress(fraction, f"fold {number} of {of}, {words}")
