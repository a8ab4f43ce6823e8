"""What a model says of each held-out picture: `predictions.csv`."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from greenr_luigi import contracts, tables
from greenr_luigi.staleness import regular

Floats = np.ndarray[Any, np.dtype[np.float64]]
LOGIT = "logit:"


@dataclass(frozen=True)
class Prediction:
    """A held-out picture: its file in the data set, its label, its side (valid or test), the class that the model
    finds most probable, and how familiar it is (evaluation/familiarity.py), which older files lack."""

    file: contracts.Name
    label: str
    side: str
    predicted: str
    familiarity: float = -1.0


@dataclass(frozen=True)
class Predictions:
    """A row a picture, sorted by file, and its logits: (pictures, classes)."""

    classes: list[str]
    rows: list[Prediction]
    logits: Floats


def write_predictions(path: Path, predictions: Predictions) -> None:
    """A line a picture, with a column `logit:<class>` a class."""
    names = [field.name for field in fields(Prediction)] + [LOGIT + label for label in predictions.classes]
    rows = zip(predictions.rows, predictions.logits, strict=True)
    tables.write(path, names, ([*astuple(row), *logits] for row, logits in rows))


def read_predictions(path: Path) -> Predictions:
    """Raises FileNotFoundError if there is no such file, ContractError if it lacks a column or a cell."""
    try:
        with regular.opened(path, "r", newline="", encoding="utf-8") as file:
            table = tables.Records(file)
            classes = [name.removeprefix(LOGIT) for name in table.fieldnames or () if name.startswith(LOGIT)]
            lines = list(table)
        logits = np.array([[float(line[LOGIT + label]) for label in classes] for line in lines])
        rows = msgspec.convert(lines, list[Prediction], strict=False)
    except (ValueError, TypeError, csv.Error, msgspec.ValidationError) as error:
        raise contracts.unreadable(path, Predictions, error, "evaluate the model again") from None
    return Predictions(classes, rows, logits.reshape(len(lines), len(classes)))
