"""What the model page shows of a release: how good its model is, and what it learned from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar

from greenr_luigi import contracts, files, run_history
from greenr_luigi.contracts import ContractError
from greenr_luigi.deployment import attribution
from greenr_luigi.deployment.provenance import Origin, read_provenance
from greenr_luigi.evaluation.metrics import Confusion, Metrics, confusions, worst
from greenr_luigi.evaluation.predictions import HELD_OUT, Prediction, read_rows
from greenr_luigi.evaluation.trend import Trend, trend
from greenr_luigi.serving.releases import ReleaseNote

Content = TypeVar("Content")
PICTURE = re.compile(r"[0-9a-f]{16}\.jpg")
#: Pictures of a class on the model page, and of a cell of the confusion matrix.
SAMPLES = 6
IN_A_CELL = 60
#: More classes than so many are not shown as a matrix, nor each with its pictures: of 1,000 that would be a million
#: cells. Of those that are confused most, and recognised worst, so many are.
MATRIX_CLASSES = 30
WORST = 24


@dataclass(frozen=True)
class ModelPage:
    """What a release tells of its model. Where a file is missing or cannot be read, this is None or empty, and the page
    leaves it out: a release is checked only for what answers need."""

    created: str
    metrics: Metrics | None
    origins: list[Origin]
    #: Pictures in attribution.csv.
    credited: int
    #: Test pictures in predictions.csv, and the names of the small ones that the release carries.
    tested: list[Prediction]
    pictures: frozenset[str]

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        low, high = self.metrics.error_interval if self.metrics else (0.0, 1.0)
        return 1 - high, 1 - low

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures by class and side; the last row, "", has the sums."""
        sides = self.metrics.data.counts if self.metrics else {}
        labels = sorted({label for counts in sides.values() for label in counts})
        rows = {label: {side: sides[side].get(label, 0) for side in sides} for label in labels}
        return rows | {"": {side: sum(counts.values()) for side, counts in sides.items()}}

    @property
    def many(self) -> bool:
        return self.metrics is not None and len(self.metrics.classes) > MATRIX_CLASSES

    @cached_property
    def confusions(self) -> list[Confusion]:
        """The most frequent ones, of many classes."""
        return confusions(self.metrics, self.metrics.classes)[:WORST] if self.metrics and self.many else []

    @cached_property
    def worst(self) -> list[str]:
        """All classes; of many those that are recognised worst."""
        if self.metrics is None:
            return []
        return worst(self.metrics, WORST) if self.many else self.metrics.classes

    def cell(self, label: str, predicted: str) -> list[tuple[str, str]]:
        """Test pictures of one class that the model took for another: file in the data set, and the name of the small
        picture, empty if the release does not carry it."""
        rows = [row for row in self.tested if row.label == label and row.predicted == predicted]
        return [(row.file, self.picture(row)) for row in rows[:IN_A_CELL]]

    def samples(self, label: str) -> list[str]:
        """The names of a few small test pictures of a class."""
        names = (self.picture(row) for row in self.tested if row.label == label)
        return [name for name in names if name][:SAMPLES]

    def picture(self, row: Prediction) -> str:
        name = Path(row.file).stem + ".jpg"
        return name if name in self.pictures else ""


def read_metrics(release: Path) -> Metrics:
    """Raises ContractError if its tables do not fit together."""
    metrics = contracts.read(release / "metrics.json", Metrics)
    count = len(metrics.classes)
    rows = metrics.taken_for
    square = len(rows) == count and all(0 <= place < count for row in rows for place in row)
    if not square or set(metrics.data.counts) != {"train", "valid", "test"}:
        raise contracts.ContractError(f"{release}: the tables of metrics.json do not fit together")
    return metrics


@lru_cache(maxsize=2)
def read_model_page(release: Path) -> ModelPage:
    """From the folder of a release, which never changes: the last two are remembered."""
    note = readable(lambda: contracts.read(release / "release.json", ReleaseNote))
    provenance = readable(lambda: read_provenance(release))
    predictions = readable(lambda: read_rows(release / HELD_OUT)) or []
    return ModelPage(
        created=note.created if note else "",
        metrics=readable(lambda: read_metrics(release)),
        origins=provenance.sources if provenance else [],
        credited=readable(lambda: credited(release)) or 0,
        tested=[row for row in predictions if row.side == "test"],
        pictures=frozenset(
            path.name for path in release.glob("pictures/*.jpg") if PICTURE.fullmatch(path.name)
        ),
    )


def credited(release: Path) -> int:
    """How many pictures its attribution names; none in releases that have none."""
    if (file := files.opened_own(release, attribution.NAME)) is None:
        return 0
    with file:
        return attribution.count(file)


def read_trend(store: Path) -> Trend | None:
    """Of the models that came before the gate, by the history beside the store; None where there is none to read."""
    try:
        seen = store.with_name(run_history.FILE).stat()
    except OSError:
        return None
    return _trend(store.parent, (seen.st_mtime_ns, seen.st_size))


@lru_cache(maxsize=2)
def _trend(root: Path, _: tuple[int, int]) -> Trend | None:
    events = readable(lambda: run_history.read(root))
    return trend(run_history.judged(events or []))


def readable(read: Callable[[], Content]) -> Content | None:
    try:
        return read()
    except (OSError, ContractError):
        return None
