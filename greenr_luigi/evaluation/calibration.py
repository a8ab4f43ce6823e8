"""Probabilities that mean what they say: temperature, reliability, and when to answer at all."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

#: How far a temperature strays from 1 before the validation pictures must insist: the standard deviation of
#: its logarithm, a priori. Twenty validation pictures without a mistake would otherwise ask for a
#: temperature of zero.
TEMPERATURE_SPREAD = 0.5


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities along the last axis of logits divided by the temperature."""
    z = np.asarray(logits, np.float64) / temperature
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def loss(probabilities: Floats, labels: Ints) -> float:
    """Mean negative log likelihood of the true classes, in nats; 0 for no pictures."""
    if not len(labels):
        return 0.0
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300)).mean())


def temperature(logits: Floats, labels: Ints) -> float:
    """The temperature that makes the given pictures' labels most likely (Guo et al., "On Calibration of
    Modern Neural Networks", 2017), under a log-normal prior around 1 so that few pictures cannot ask for the
    absurd.

    logits: (pictures, classes); labels: class numbers. Between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar

    def cost(log_t: float) -> float:
        return (
            len(labels) * loss(softmax(logits, math.exp(log_t)), labels)
            + 0.5 * (log_t / TEMPERATURE_SPREAD) ** 2
        )

    return float(math.exp(minimize_scalar(cost, bounds=(math.log(0.05), math.log(20)), method="bounded").x))


def threshold(probabilities: Floats, coverage: float) -> float:
    """The least top probability that counts as an answer, so that at least the fraction `coverage` of the
    given pictures (pictures, classes) get one; the rest hear "I can't tell". 0 where there are no
    pictures."""
    return least(probabilities.max(-1), coverage) if len(probabilities) else 0.0


def least(values: Floats, coverage: float) -> float:
    """The value that at least the fraction `coverage` of the given ones, one or more, reach."""
    ordered = np.sort(values)
    return float(ordered[min(len(ordered) - 1, math.floor((1 - coverage) * len(ordered) + 1e-9))])


class Bin(NamedTuple):
    """Pictures whose top probability lies in [low, high): how many, their mean top probability, the fraction
    right."""

    low: float
    high: float
    pictures: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: Floats, labels: Ints, bins: int = 10) -> list[Bin]:
    """The reliability diagram's bins of equal width over the top probability."""
    top, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    which = np.minimum((top * bins).astype(int), bins - 1)
    rows = []
    for i in range(bins):
        here = which == i
        some = bool(here.any())
        rows.append(
            Bin(i / bins, (i + 1) / bins, int(here.sum()),
                float(top[here].mean()) if some else None, float(right[here].mean()) if some else None)
        )  # fmt: skip
    return rows


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over the reliability diagram's bins, weighted by their
    pictures (Naeini et al., 2015). 0 is perfect, and 0 for no pictures."""
    rows = reliability(probabilities, labels, bins)
    gaps = [
        b.pictures * abs(b.confidence - b.accuracy)
        for b in rows
        if b.confidence is not None and b.accuracy is not None
    ]
    return sum(gaps) / max(1, len(labels))


def wilson(wrong: int, pictures: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a rate that was seen `wrong` times in `pictures`."""
    from scipy.stats import binomtest

    if not pictures:
        return 0.0, 1.0
    interval = binomtest(wrong, pictures).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
