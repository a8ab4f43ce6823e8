"""Familiarity: how much a picture is like those that a model has learned from. It tells out-of-distribution pictures.

Probabilities cannot tell them: they sum to 1 over the known classes, whatever the picture shows, so that a model of
flowers may be sure of a cat. The body's features can: those of a picture of none of the classes point elsewhere than
the mean features of each class. Familiarity is the cosine of the angle to the nearest class's mean, from -1 to 1. A
picture below the least familiarity of metrics.json gets no answer ("I can't tell").

K. Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018, measure a Mahalanobis distance. The cosine needs no covariance, which few pictures would not give. What it brings
stands in docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from greenr_luigi.evaluation.calibration import Ints

Features = np.ndarray[Any, np.dtype[np.float32]]
Sums = np.ndarray[Any, np.dtype[np.float64]]
#: Pictures whose features are copied at once.
AT_ONCE = 1024


def class_centers(features: Features, labels: Ints) -> Features:
    """The direction of each class's mean. From features (pictures, features) and class numbers (pictures,) to unit
    vectors (classes that have pictures, features)."""
    return unit(_sums(features, labels, np.zeros_like(labels), 1)[0])


def centers_by_fold(features: Features, labels: Ints, fold: Ints, folds: int) -> Features:
    """For each of so many folds, `class_centers` of the pictures of all others: (folds, classes, features). `fold`: its
    number for each picture, or -1 for one that is in none; beside each fold all classes have pictures."""
    sums = _sums(features, labels, fold % (folds + 1), folds + 1)
    return np.stack([unit(sums.sum(0) - sums[k]) for k in range(folds)])


def _sums(features: Features, labels: Ints, part: Ints, parts: int) -> Sums:
    """(parts, classes that have pictures, features)."""
    found, classes = np.zeros((parts, len(np.unique(labels)), features.shape[1])), np.unique(labels)
    for k in range(parts):
        for number, label in enumerate(classes):
            for rows in _in_pieces(np.flatnonzero((part == k) & (labels == label))):
                found[k, number] += features[rows].sum(0, dtype=np.float64)
    return found


def familiarity(features: Features, centers: Features) -> Features:
    """The cosine of each picture's features with the nearest center, from -1 to 1: (pictures,)."""
    near = [(unit(features[rows]) @ centers.T).max(1) for rows in _in_pieces(np.arange(len(features)))]
    return np.concatenate([np.empty(0, np.float32), *near])


def out_of_fold(features: Features, centers: Features, fold: Ints) -> Features:
    """The familiarity of each picture with the centers of its fold, by `centers_by_fold`; NaN for one in none."""
    found = np.full(len(fold), np.nan, np.float32)
    for k, of_others in enumerate(centers):
        for rows in _in_pieces(np.flatnonzero(fold == k)):
            found[rows] = familiarity(features[rows], of_others)
    return found


def _in_pieces(rows: Ints) -> Iterator[Ints]:
    """What is chosen by numbers is copied, so not all at once."""
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def unit(vectors: Features | Sums) -> Features:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
