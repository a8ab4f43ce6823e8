"""Familiarity: how much a picture is like those that a model has learned from. It tells out-of-distribution pictures.

Probabilities cannot tell them: they sum to 1 over the known classes, whatever the picture shows, so that a model of
flowers may be sure of a cat. The body's features can: those of a picture of none of the classes point elsewhere than
the mean features of each class. Familiarity is the cosine of the angle to the nearest class's mean, from -1 to 1. A
picture below the least familiarity of metrics.json gets no answer ("I can't tell").

K. Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018, measure a Mahalanobis distance. The cosine needs no covariance, which few pictures would not give. What it brings
stands in docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from greenr_luigi.evaluation.calibration import Ints

Features = np.ndarray[Any, np.dtype[np.float32]]


def class_centers(features: Features, labels: Ints) -> Features:
    """The direction of each class's mean. From features (pictures, features) and class numbers (pictures,) to unit
    vectors (classes that have pictures, features)."""
    return unit(np.stack([features[labels == k].mean(0) for k in np.unique(labels)]))


def familiarity(features: Features, centers: Features) -> Features:
    """The cosine of each picture's features with the nearest center, from -1 to 1: (pictures,)."""
    return np.asarray((unit(features) @ centers.T).max(1))


def unit(vectors: Features) -> Features:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
