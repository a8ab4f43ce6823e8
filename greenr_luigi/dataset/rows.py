"""What SplitDataset says of each picture: in the data set, left out of it, or never taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.contracts import Name
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.manifest import PictureRow

SPLIT, LABELS, EXCLUDED = "manifest.csv", "labels.csv", "excluded.csv"
REFUSED, NOTE = "refused.json", "split.json"
#: What a picture was called where it was found, and what was left out, is no part of what a model learns.
NOTES = (SPLIT, EXCLUDED, REFUSED, NOTE)


@dataclass(frozen=True)
class LabelRow:
    """What a model is told of a picture of the data set, a line of labels.csv. `side`: train, valid (validation) or
    test. `group`: pictures with the same one are never divided, neither by sides nor by folds: those of a person's
    group, and near-duplicates (groups.inseparable). None for one that stands alone."""

    file: Name
    label: str
    sha256: str
    side: str
    group: str | None = None


@dataclass(frozen=True)
class SplitRow(PictureRow):
    """All that is known of a picture of the data set, a line of manifest.csv. `side`: as of a LabelRow. `given_side` is
    None where our own split was asked for, and `group` the one by which it was divided. `near`, of a test picture: the
    sha16 of others that look nearly the same, in the data set or not, with blanks between. A model that has learned
    from one of these, or from one of the group, must not be judged by it."""

    side: str = ""
    near: str | None = None


def class_numbers(rows: Iterable[LabelRow], classes: Sequence[str]) -> list[int]:
    """Of each row the number of its label among the classes, which hold all labels."""
    number = {label: k for k, label in enumerate(classes)}
    return [number[row.label] for row in rows]


@dataclass(frozen=True)
class Excluded:
    """A usable picture that is not in the data set, a line of excluded.csv. `file`: as its own source calls it, and
    `group` as of a SplitRow."""

    file: str
    label: str
    sha256: str
    reason: str
    detail: str
    group: str | None = None


@dataclass(frozen=True)
class SplitNote:
    """How the data set was divided, split.json: pictures by side. `given`: on the side that a person's folder or list
    gives them. `held_out`: given for training, and taken from it, as their class is given no such side. `ours`: given
    none. `groups`: how many there are, and `grouped` the pictures in them. `folder`: what was understood of it, in
    words."""

    given: dict[str, int]
    held_out: dict[str, int]
    ours: dict[str, int]
    groups: int
    grouped: int
    folder: str | None = None


@dataclass(frozen=True)
class RefusedFile:
    """A file of a person, by its name in their folder, and why it was not taken."""

    name: str
    message: str


@dataclass(frozen=True)
class RefusedKind:
    """Files of a person that were not taken, of one label and for one reason: how many, and the first few of them.
    refused.json is a list of these."""

    label: str
    reason: str
    count: int
    examples: list[RefusedFile]


def read_labels(dataset: Path, *sides: str) -> list[LabelRow]:
    """The rows of a SplitDataset folder on the given sides, sorted by file. A data set that was made by hand may have
    no more than a manifest.csv."""
    path = dataset / LABELS
    rows = manifest.read_csv(path if path.exists() else dataset / SPLIT, LabelRow)
    return sorted((row for row in rows if row.side in sides), key=lambda row: row.file)


def read_manifest(dataset: Path) -> list[SplitRow]:
    """All rows of a SplitDataset folder, sorted by file."""
    return sorted(manifest.read_csv(dataset / SPLIT, SplitRow), key=lambda row: row.file)


def read_excluded(dataset: Path) -> list[Excluded]:
    """Empty for a data set that was made by hand."""
    path = dataset / EXCLUDED
    return manifest.read_csv(path, Excluded) if path.exists() else []


def read_refused(dataset: Path) -> list[RefusedKind]:
    """Empty for a data set of a version that did not write it."""
    path = dataset / REFUSED
    return contracts.read(path, list[RefusedKind]) if path.exists() else []


def read_note(dataset: Path) -> SplitNote | None:
    """None for a data set that was made by hand, or of a version that did not write it."""
    path = dataset / NOTE
    return contracts.read(path, SplitNote) if path.exists() else None
