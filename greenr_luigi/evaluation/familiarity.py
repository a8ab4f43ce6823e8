"""How much a picture is like those that a model has learned from, so that it can say of a cat that it is no flower.

Probabilities cannot tell: they share out certainty among the classes, whatever the picture shows. The body's features
can: a picture of none of the classes lies far from the mean features of each (K. Lee et al., "A Simple Unified
Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS 2018; with the cosine for a
distance, which asks for no covariance of few pictures). docs/benchmarks.md has what it brings."""

from __future__ import annotations

from typing import Any

import numpy as np

from greenr_luigi.evaluation.calibration import Ints

Features = np.ndarray[Any, np.dtype[np.float32]]


def centers(features: Features, labels: Ints) -> Features:
    """The direction of each class's mean: unit vectors (classes that have pictures, features) from features (pictures,
    features)."""
    means = np.stack([features[labels == k].mean(0) for k in np.unique(labels)])
    return unit(means)


def familiarity(features: Features, centers: Features) -> Features:
    """The cosine of each picture's features with the nearest center, from -1 to 1: (pictures,)."""
    found: Features = (unit(features) @ centers.T).max(1)
    return found


def unit(vectors: Features) -> Features:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Features = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found
