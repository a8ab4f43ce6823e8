"""All pictures that a person can look through, and what is known of each."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi import contracts, files
from greenr_luigi.dataset import rows
from greenr_luigi.dataset.decisions import Curation, CurationError
from greenr_luigi.evaluation.label_issues import read_label_issues
from greenr_luigi.evaluation.metrics import Metrics
from greenr_luigi.evaluation.predictions import HELD_OUT, OUT_OF_FOLD, read_rows
from greenr_luigi.pictures import door
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, read_jsonl

SIDES = ("train", "valid", "test")


@dataclass(frozen=True)
class Places:
    """Where the pictures lie: folders of DownloadImages by label, a SplitDataset and an EvaluateModel folder; each may
    be missing."""

    pictures: Mapping[str, Path] = field(default_factory=dict)
    dataset: Path | None = None
    evaluation: Path | None = None


@dataclass(frozen=True)
class Opinion:
    """What models say of a picture. `suggested`: another label, by one that did not learn from it, which gives its own
    the `probability`; `predicted` and `familiarity`: of a held-out picture, by the model that was trained. None is not
    known."""

    suggested: str | None = None
    probability: float | None = None
    predicted: str | None = None
    familiarity: float | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, found under one label or more. `side`: train, valid or test, the reason for which it was left out of
    the data set, or empty where no data set knows of it; `detail`: that reason in words; `came`: when it was fetched,
    or, of a source that does not say so, the time of its file (ISO, UTC)."""

    row: PictureRow
    folder: Path
    labels: tuple[str, ...]
    side: str
    detail: str
    came: str
    opinion: Opinion

    @property
    def id(self) -> str:
        """As in the file names under the root."""
        return self.row.sha256[:16]

    def label(self, curation: Curation) -> str:
        return curation.relabelled.get(self.row.sha256, self.labels[0])

    def read(self) -> bytes:
        """The picture. Raises CurationError if it is gone, or another one lies there."""
        file = files.opened_own(self.folder, self.row.file)
        if file is None:
            raise CurationError(f"{self.folder / self.row.file} is gone: load the page again")
        with file:
            data = file.read()
        if door.sha256(data) != self.row.sha256:
            raise CurationError(f"{self.folder / self.row.file} is no longer the picture that was listed")
        return data


@dataclass(frozen=True)
class Listing:
    """All pictures by their id. `edition`: another text wherever the outputs are others; `classes`: what a picture may
    be called; `least`: the least familiarity that a picture has by which the model would answer."""

    edition: str
    pictures: Mapping[str, Picture]
    classes: list[str]
    least: float


class Catalogue:
    """`find` says where the pictures lie, `seen` what tells whether it would say otherwise now, at little cost."""

    def __init__(
        self, find: Callable[[], Places] = Places, seen: Callable[[], Hashable] = lambda: None
    ) -> None:
        self._find, self._seen = find, seen
        self._lock = threading.Lock()
        self._read: tuple[Hashable, Listing] | None = None
        self._edition = 0

    def listing(self) -> Listing:
        """As of now. Raises ContractError if an output cannot be read."""
        with self._lock:
            seen = self._seen()
            if self._read is None or self._read[0] != seen:
                self._edition += 1
                self._read = seen, read(self._find(), str(self._edition))
            return self._read[1]


def read(places: Places, edition: str = "") -> Listing:
    """The pictures that were collected, and those of the data set that lie in no such folder, such as added ones."""
    opinions, least = _opinions(places.evaluation), -1.0
    classes = set(places.pictures)
    if places.evaluation is not None:
        metrics = contracts.read(places.evaluation / "metrics.json", Metrics)
        least = metrics.familiarity
        classes |= {*metrics.classes}
    sides: dict[str, str] = {}
    reasons: dict[str, tuple[str, str]] = {}
    if places.dataset is not None:
        labels = rows.read_labels(places.dataset, *SIDES)
        sides = {row.sha256: row.side for row in labels}
        classes |= {row.label for row in labels}
        reasons = {row.sha256: (row.reason, row.detail) for row in rows.read_excluded(places.dataset)}
    found: dict[str, tuple[PictureRow, Path, list[str]]] = {}
    for label, folder in sorted(places.pictures.items()):
        for row in read_jsonl(folder / MANIFEST, PictureRow):
            found.setdefault(row.sha256, (row, folder, []))[2].append(label)
    if places.dataset is not None and sides.keys() - found.keys():
        for row in rows.read_manifest(places.dataset):
            if row.sha256 not in found:
                found[row.sha256] = row, places.dataset, [row.label]
    pictures = {}
    for sha256, (row, folder, under) in found.items():
        side, detail = (sides[sha256], "") if sha256 in sides else reasons.get(sha256, ("", ""))
        picture = Picture(
            row,
            folder,
            tuple(under),
            side,
            detail,
            row.fetched or _file_time(folder / row.file),
            opinions.get(sha256[:16], Opinion()),
        )
        pictures[picture.id] = picture
    return Listing(edition, pictures, sorted(classes), least)


def _file_time(path: Path) -> str:
    try:
        seconds = path.stat().st_mtime
    except OSError:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _opinions(evaluation: Path | None) -> dict[str, Opinion]:
    """By the id of the picture, which is the name of its file."""
    if evaluation is None:
        return {}
    issues = {Path(issue.file).stem: issue for issue in read_label_issues(evaluation)}
    # An evaluation of an earlier version, or without a cross-validation, has no more than the first.
    tables = [path for name in (HELD_OUT, OUT_OF_FOLD) if (path := evaluation / name).exists()]
    predictions = {Path(p.file).stem: p for path in tables for p in read_rows(path)}
    opinions = {}
    for name in issues.keys() | predictions.keys():
        issue, prediction = issues.get(name), predictions.get(name)
        opinions[name] = Opinion(
            issue.suggested if issue else None,
            issue.probability if issue else None,
            prediction.predicted if prediction else None,
            prediction.familiarity if prediction else None,
        )
    return opinions
