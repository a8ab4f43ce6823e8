"""Cross-validation of a head: all pictures that are not for testing teach it, and all of them judge it.

    fold = folds.of_rows(rows, classes, seed)
    judged = cross_validation.out_of_fold(learn.model[1], x, y, fold, training, on_progress)
    error = judged.error(x, y)

The pictures are divided into folds. Of each fold, a head that has learned from the others says what it sees. So each
picture has an answer of a head that has not learned from it, at the price of as many heads as there are folds, which
is seconds where features are at hand. The head that serves learns from all of them. It has a quarter more to learn
from than those that are judged, so that these are, if anything, a little worse than it."""

from __future__ import annotations

import copy
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from torch import nn

from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training import folds, heads, linear_head
from greenr_luigi.training.saved_model import Epoch, Training


def out_of_fold(
    head: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    fold: folds.Ints,
    training: Training,
    on_progress: OnProgress,
    **options: Any,
) -> folds.OutOfFold:
    """Train a head for each fold on the pictures of the others. `head` stays as it is.

    `x`: the features of each picture, (pictures, features, 1, 1); it may hold those of further views of them behind, as
    of their mirror images: a multiple of the pictures, in the same order. A head learns from all views of a picture,
    and is judged by the first. Features are not copied. `y`: the class number of each picture. `fold`: as folds.divide
    gives it, with at least one picture that is judged. `options`: as of heads.fit."""
    numbers, classes = np.unique(fold[fold != folds.ALWAYS]).tolist(), len(training.classes)
    weight = np.zeros((folds.FOLDS, classes, x[0].numel()), np.float32)
    bias = np.zeros((folds.FOLDS, classes), np.float32)
    epochs, sizes = [], []
    for done, k in enumerate(numbers):
        fitting = part(on_progress, done / len(numbers), (done + 1) / len(numbers))
        of_fold = copy.deepcopy(head)
        rest, held = some_of(x, y, fold != k), some_of(x[: len(y)], y, fold == k)
        history = heads.fit(of_fold, rest, held, training, _named(fitting, done + 1, len(numbers)), **options)
        made = linear_head.folded(of_fold.eval())
        weight[k], bias[k] = made.weight, made.bias
        epochs.append([astuple(epoch) for epoch in history])
        sizes.append(len(held[1]))
    means = np.average(np.array(epochs), axis=0, weights=sizes)
    return folds.OutOfFold(fold, weight, bias, [Epoch(*row) for row in means.tolist()])


def some_of(x: torch.Tensor, y: torch.Tensor, chosen: folds.Bools) -> heads.Labelled:
    """Of some pictures all views, as of `out_of_fold`, and class numbers."""
    rows = torch.from_numpy(np.flatnonzero(chosen))
    views = len(x) // len(y)
    of_all_views = torch.cat([rows + view * len(y) for view in range(views)])
    return heads.Rows(x, of_all_views), y[rows].repeat(views)


def _named(on_progress: OnProgress, number: int, of: int) -> OnProgress:
    return lambda fraction, words: on_progress(fraction, f"fold {number} of {of}, {words}")
