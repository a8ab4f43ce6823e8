"""What a model says of pictures that it has not learned from: `predictions.csv`. What heads of a cross-validation say
of those that they have not learned from, and it has: `out_of_fold.csv`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from greenr_luigi import contracts, tables
from greenr_luigi.staleness import regular

if TYPE_CHECKING:
    from greenr_luigi.dataset.rows import LabelRow

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
LOGIT = "logit:"
HELD_OUT, OUT_OF_FOLD = "predictions.csv", "out_of_fold.csv"


@dataclass(frozen=True)
class Prediction:
    """A picture: its file in the data set, its label, its side, the class that the model finds most probable, and how
    familiar it is (evaluation/familiarity.py), which older files lack."""

    file: contracts.Name
    label: str
    side: str
    predicted: str
    familiarity: float = -1.0


@dataclass(frozen=True)
class Predictions:
    """A row a picture, and its logits: (pictures, classes)."""

    classes: list[str]
    rows: list[Prediction]
    logits: Floats

    @property
    def labels(self) -> Ints:
        """Class numbers (pictures,)."""
        number = {label: k for k, label in enumerate(self.classes)}
        return np.array([number[row.label] for row in self.rows], np.int64)

    @property
    def familiarity(self) -> Floats:
        """(pictures,)"""
        return np.array([row.familiarity for row in self.rows], np.float64)


def of_rows(
    rows: Sequence[LabelRow],
    classes: list[str],
    logits: np.ndarray[Any, Any],
    familiarity: np.ndarray[Any, Any],
) -> Predictions:
    """What is said of the rows of a data set."""
    numbers = zip(rows, logits.argmax(1), familiarity.tolist(), strict=True)
    found = [Prediction(row.file, row.label, row.side, classes[k], near) for row, k, near in numbers]
    return Predictions(classes, found, logits.astype(np.float64))


def of_side(predictions: Predictions, side: str) -> Predictions:
    which = [i for i, row in enumerate(predictions.rows) if row.side == side]
    return Predictions(predictions.classes, [predictions.rows[i] for i in which], predictions.logits[which])


def write_predictions(path: Path, predictions: Predictions) -> None:
    """A line a picture, with a column `logit:<class>` a class."""
    own = [field.name for field in fields(Prediction)]
    names, cells = own + [LOGIT + label for label in predictions.classes], attrgetter(*own)
    rows = zip(predictions.rows, predictions.logits, strict=True)
    tables.write(path, names, ([*cells(row), *logits.tolist()] for row, logits in rows))


def read_predictions(path: Path) -> Predictions:
    """Raises FileNotFoundError if there is no such file, ContractError if it lacks a column or a cell."""
    logits = list[Floats]()
    names, rows = _read(path, lambda cells: logits.append(np.array([*map(float, cells)])))
    return Predictions(names, rows, np.array(logits).reshape(len(rows), len(names)))


def read_rows(path: Path) -> list[Prediction]:
    """As `read_predictions`, but for the logits: of 1,000 classes these are a hundred megabytes."""
    return _read(path, lambda cells: None)[1]


def _read(path: Path, take: Callable[[Sequence[str]], object]) -> tuple[list[str], list[Prediction]]:
    """The classes, and the rows; `take` gets the logits of each."""
    try:
        with regular.opened(path, "r", newline="", encoding="utf-8") as file:
            lines, rows = tables.rows(file), []
            names = next(lines, [])
            logits = [place for place, name in enumerate(names) if name.startswith(LOGIT)]
            others = [(place, name) for place, name in enumerate(names) if not name.startswith(LOGIT)]
            for cells in filter(None, lines):
                if len(cells) != len(names):
                    raise ValueError(f"{len(cells)} cells in a line, expected {len(names)}")
                take([cells[place] for place in logits])
                rows.append({name: cells[place] for place, name in others})
        found = msgspec.convert(rows, list[Prediction], strict=False)
    except (ValueError, TypeError, csv.Error, msgspec.ValidationError) as error:
        raise contracts.unreadable(path, Predictions, error, "evaluate the model again") from None
    return [names[place].removeprefix(LOGIT) for place in logits], found
