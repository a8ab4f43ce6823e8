"""Probabilities that mean what they say: temperature, reliability, and when to answer at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from greenr_luigi.evaluation.metrics import ReliabilityBin
from greenr_luigi.evaluation.predictions import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]

#: How far a temperature strays from 1 before the validation pictures must insist: the standard deviation of
#: its logarithm, a priori. Twenty validation pictures without a mistake would otherwise ask for a
#: temperature of zero.
TEMPERATURE_SPREAD = 0.5


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities along the last axis of logits divided by the temperature."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def negative_log_likelihood(probabilities: Floats, labels: Ints) -> float:
    """The mean over pictures of that of their true class, in nats."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature that makes the given pictures' labels most likely (Guo et al., "On Calibration of
    Modern Neural Networks", 2017), under a log-normal prior around 1 so that few pictures cannot ask for the
    absurd.

    logits: (pictures, classes); labels: class numbers. Between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_t: float) -> float:
        likelihood = len(labels) * negative_log_likelihood(softmax(logits, math.exp(log_t)), labels)
        return likelihood + 0.5 * (log_t / TEMPERATURE_SPREAD) ** 2

    return float(math.exp(minimize_scalar(cost, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def threshold(values: Floats, coverage: float) -> float:
    """The value that at least the fraction `coverage` of the given ones, one or more, reach."""
    ordered = np.sort(values)
    return float(ordered[min(len(ordered) - 1, math.floor((1 - coverage) * len(ordered) + 1e-9))])


def reliability(probabilities: Floats, labels: Ints, bins: int = 10) -> list[ReliabilityBin]:
    """The reliability diagram's bins of equal width over the top probability."""
    top, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    bin_of = np.minimum((top * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        inside = bin_of == i
        means = (float(top[inside].mean()), float(right[inside].mean())) if inside.any() else (None, None)
        rows.append(ReliabilityBin(i / bins, (i + 1) / bins, int(inside.sum()), *means))
    return rows


def expected_calibration_error(probabilities: Floats, labels: Ints) -> float:
    """Mean distance of confidence and accuracy over the reliability diagram's bins, weighted by their
    pictures (Naeini et al., 2015). 0 is perfect."""
    gaps = [
        row.pictures * abs(row.confidence - row.accuracy)
        for row in reliability(probabilities, labels)
        if row.confidence is not None and row.accuracy is not None
    ]
    return sum(gaps) / len(labels)


def wilson(wrong: int, pictures: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate that was seen `wrong` times in `pictures`, one or more."""
    from scipy.stats import binomtest

    interval = binomtest(wrong, pictures).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
