"""Probabilities that mean what they say: temperature, reliability, and when to answer at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from greenr_luigi.evaluation.metrics import ReliabilityBin
from greenr_luigi.evaluation.predictions import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

#: How far from 1 a temperature is expected to be, before any picture is seen: the standard deviation of its logarithm.
#: Without it, twenty validation pictures without a mistake would ask for a temperature of zero.
TEMPERATURE_SPREAD = 0.5
BINS = 10


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities along the last axis of logits divided by the temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """Of the true classes, the mean over pictures, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature, between 0.05 and 20, that makes the pictures' labels most likely (Guo et al., "On Calibration
    of Modern Neural Networks", 2017). A log-normal prior around 1 keeps few pictures from asking for the absurd.

    logits: (pictures, classes); labels: class numbers.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_t: float) -> float:
        likelihood = len(labels) * negative_log_likelihood(softmax(logits, math.exp(log_t)), labels)
        return likelihood + 0.5 * (log_t / TEMPERATURE_SPREAD) ** 2

    return float(math.exp(minimize_scalar(cost, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def threshold(values: Floats, coverage: float) -> float:
    """The largest of the values (one or more) that at least the fraction `coverage` of them reach."""
    ordered = np.sort(values)
    return float(ordered[min(len(ordered) - 1, math.floor((1 - coverage) * len(ordered) + 1e-9))])


def binned(probabilities: Floats, labels: Ints) -> tuple[Floats, Bools, Ints]:
    """Of each picture: the top probability, whether that is of the true class, and the number of its bin in the
    reliability diagram, whose BINS bins are of equal width over the top probability."""
    top, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    return top, right, np.minimum((top * BINS).astype(np.int64), BINS - 1)


def reliability(probabilities: Floats, labels: Ints) -> list[ReliabilityBin]:
    """The bins of the reliability diagram, the lowest first."""
    top, right, bin_of = binned(probabilities, labels)
    rows = []
    for i in range(BINS):
        inside = bin_of == i
        means = [float(values[inside].mean()) if inside.any() else None for values in (top, right)]
        rows.append(ReliabilityBin(i / BINS, (i + 1) / BINS, int(inside.sum()), *means))
    return rows


def expected_calibration_error(probabilities: Floats, labels: Ints) -> float:
    """Mean distance of confidence and accuracy over the reliability diagram's bins, weighted by their
    pictures (Naeini et al., 2015). 0 is perfect."""
    top, right, bin_of = binned(probabilities, labels)
    return float(np.abs(np.bincount(bin_of, top - right)).sum() / len(labels))
