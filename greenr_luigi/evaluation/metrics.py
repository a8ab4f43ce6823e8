"""What is measured of a model: the contents of `metrics.json`. Imports nothing heavy, so that a page may read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ClassMetrics:
    """Of one class on the test pictures; None where nothing can be divided. `pictures`: how many have its label."""

    precision: float | None
    recall: float | None
    pictures: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures whose top probability lies in [low, high): how many, their mean top probability, and the fraction that
    is right; None where there are none."""

    low: float
    high: float
    pictures: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class HeldOutCounts:
    """How many pictures were kept from the model: to set its temperature, threshold and least familiarity by (valid; 0
    where a cross-validation does), and to test it with."""

    valid: int
    test: int


@dataclass(frozen=True)
class DataCounts:
    """The data set: pictures by side and class, and a digest over which picture has which label on which side."""

    digest: str
    counts: dict[str, dict[str, int]]


@dataclass(frozen=True)
class CrossValidation:
    """All `pictures` that are not for testing, each judged by a head that has learned from the other `folds` only, at
    the temperature that these answers ask for. `error` with its 95 % Wilson interval, `loss` and `calibration_error`
    are as of Measured. The model itself has learned from all of them."""

    folds: int
    pictures: int
    error: float
    error_interval: tuple[float, float]
    loss: float
    calibration_error: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How good a model is on its test pictures: the part of `metrics.json` that is in the model card, too. Rates are
    fractions.

    `error_interval` is the 95 % Wilson interval of `error`. `confusion` has a row a true class, in the order of the
    model's classes: how many pictures were taken for each class, by its place in that order, where any were (in older
    files for all, in a list). Three numbers come from other pictures, those of the cross-validation
    or, where there is none, of the side valid: `temperature`, `threshold` (the least top probability that counts as an
    answer) and `familiarity` (the least that does).
    `unfamiliar`: the fraction that is less familiar. `coverage`: the fraction that gets an answer; `coverage_asked`:
    what threshold and least familiarity were chosen for. `error_of_answered` is None where no picture gets an answer.
    `loss`: mean negative log-likelihood in nats. `calibration_error`: the expected calibration error;
    `calibration_error_before`: the same without the temperature.
    """

    pictures: HeldOutCounts
    accuracy: float
    error: float
    error_interval: tuple[float, float]
    per_class: dict[str, ClassMetrics]
    confusion: list[dict[int, int] | list[int]]
    temperature: float
    threshold: float
    coverage_asked: float
    coverage: float
    error_of_answered: float | None
    loss: float
    calibration_error: float
    calibration_error_before: float
    #: Older releases answer however unfamiliar a picture is.
    familiarity: float = -1.0
    unfamiliar: float = 0.0
    #: None in an older file, and where validation pictures are kept from the model instead.
    cross_validation: CrossValidation | None = None

    @property
    def taken_for(self) -> list[dict[int, int]]:
        """`confusion`, of an older file too."""
        return [
            row if isinstance(row, dict) else {place: times for place, times in enumerate(row) if times}
            for row in self.confusion
        ]

    @property
    def matrix(self) -> list[list[int]]:
        """`confusion` with a column each predicted class: to be shown, of few classes."""
        rows = self.taken_for
        return [[row.get(place, 0) for place in range(len(rows))] for row in rows]


@dataclass(frozen=True, kw_only=True)
class Metrics(Measured):
    """`metrics.json`. `command`: the line that makes the model again."""

    classes: list[str]
    reliability: list[ReliabilityBin]
    data: DataCounts
    command: str = ""


@dataclass(frozen=True)
class Confusion:
    """How many test pictures `of` those of one class, `truth`, were taken for another."""

    truth: str
    predicted: str
    times: int
    of: int


def confusions(metrics: Measured, classes: Sequence[str]) -> list[Confusion]:
    """Each pair of classes that was confused, the most frequent first."""
    pairs = [
        Confusion(truth, classes[place], times, sum(row.values()))
        for truth, row in zip(classes, metrics.taken_for, strict=True)
        for place, times in row.items()
        if classes[place] != truth
    ]
    return sorted(pairs, key=lambda pair: -pair.times)


def worst(metrics: Measured, most: int) -> list[str]:
    """The classes of which the fewest test pictures are found; at equal recall those of least precision."""

    def order(label: str) -> tuple[float, float]:
        found = metrics.per_class[label]
        return found.recall if found.recall is not None else 2, found.precision or 0

    return sorted(metrics.per_class, key=order)[:most]
