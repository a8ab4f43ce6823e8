"""What a release says of itself: where its model comes from and how it did on pictures kept apart."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from greenr_luigi.files import read_json

PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")
#: Pictures of a class on the model page, and of a cell of the confusion matrix.
SAMPLES = 6
IN_A_CELL = 60


@dataclass(frozen=True)
class Card:
    """A release's files, read once. What a release lacks, or has in another shape, is empty here, and the page
    leaves it out: a release is checked for what answers need, not for what the page tells."""

    digest: str
    created: str
    about: dict[str, Any]
    metrics: dict[str, Any]
    #: Rows of predictions.csv on the side "test": file, label, predicted.
    held_out: tuple[dict[str, str], ...] = ()
    #: Where pictures came from: rows of sources.json, each with engine, license, pictures.
    sources: tuple[dict[str, Any], ...] = ()
    pictures: frozenset[str] = field(default_factory=frozenset)

    @property
    def counts(self) -> list[tuple[str, dict[str, int]]]:
        """Each class with its pictures by side, whichever way round model.json counts them."""
        told = mapping(mapping(self.about.get("data")).get("counts"))
        counts = {name: mapping(row) for name, row in told.items()}
        if set(counts) <= {"train", "valid", "test"}:
            labels = {label for side in counts.values() for label in side}
            counts = {label: {side: row.get(label, 0) for side, row in counts.items()} for label in labels}
        return sorted(counts.items())

    @property
    def confusion(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """A row a true class, in it each predicted class with its number of pictures."""
        classes = listing(self.metrics.get("classes")) or self.about["classes"]
        matrix = [listing(row) for row in listing(self.metrics.get("confusion"))]
        if [len(row) for row in matrix] != [len(classes)] * len(classes):
            return []
        return [
            (label, list(zip(classes, row, strict=True))) for label, row in zip(classes, matrix, strict=True)
        ]

    @property
    def per_class(self) -> list[tuple[str, float | None, float | None]]:
        """Each class with its precision and its recall."""
        rows = {label: mapping(row) for label, row in mapping(self.metrics.get("per_class")).items()}
        return [
            (label, number(row.get("precision")), number(row.get("recall"))) for label, row in rows.items()
        ]

    @property
    def accuracy(self) -> float | None:
        return number(self.metrics.get("accuracy"))

    @property
    def tested(self) -> int | None:
        """How many pictures `accuracy` is of."""
        found = number(mapping(self.metrics.get("pictures")).get("test"))
        return None if found is None else int(found)

    @property
    def error_interval(self) -> tuple[float, float] | None:
        found = [number(one) for one in listing(self.metrics.get("error_interval"))]
        match found:
            case [float() | int() as low, float() | int() as high]:
                return low, high
        return None

    @property
    def int8(self) -> dict[str, Any]:
        """What 8-bit integers changed, if model.json tells all of it."""
        told = mapping(self.about.get("int8"))
        names = ("pictures", "answers_changed", "labels_changed", "mean_difference")
        return told if told.get("offered") and None not in [number(told.get(name)) for name in names] else {}

    @property
    def versions(self) -> dict[str, Any]:
        return mapping(self.about.get("versions"))

    def cell(self, label: str, predicted: str) -> list[dict[str, str]]:
        """Held-out pictures of one class that the model took for another; `picture` is empty if not kept."""
        found = [row for row in self.held_out if row["label"] == label and row["predicted"] == predicted]
        return [row | {"picture": self.picture(row)} for row in found[:IN_A_CELL]]

    def samples(self, label: str) -> list[str]:
        """A few held-out pictures of a class."""
        return [p for row in self.held_out if row["label"] == label and (p := self.picture(row))][:SAMPLES]

    def picture(self, row: dict[str, str]) -> str:
        name = Path(row["file"]).stem + ".jpg"
        return name if name in self.pictures else ""


@lru_cache(maxsize=2)
def read(folder: Path, digest: str) -> Card:
    """The card of a release; immutable, so the last two are remembered."""
    note = read_json(folder / "release.json")
    rows: list[dict[str, str]] = []
    if (folder / "predictions.csv").is_file():
        with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                told = {name: row.get(name) for name in ("file", "label", "predicted")}
                if row.get("side") == "test" and None not in told.values():
                    rows.append({name: str(value) for name, value in told.items()})
    about = read_json(folder / "model.json")
    origins = [mapping(row) for row in listing(read_json(folder / "sources.json").get("sources"))]
    return Card(
        digest=digest,
        created=str(note.get("created", "")),
        about=about,
        metrics=mapping(about.get("metrics")) | read_json(folder / "metrics.json"),
        held_out=tuple(rows),
        sources=tuple(row for row in origins if row.get("engine") and row.get("pictures")),
        pictures=frozenset(
            path.name for path in folder.glob("pictures/*.jpg") if PICTURE.fullmatch(path.name)
        ),
    )


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def listing(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def number(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
