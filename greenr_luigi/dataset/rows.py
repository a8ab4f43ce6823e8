"""What SplitDataset says of each picture: in the data set, left out of it, or never taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.contracts import Name
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.manifest import PictureRow

SPLIT, LABELS, EXCLUDED, REFUSED = "manifest.csv", "labels.csv", "excluded.csv", "refused.json"
#: What a picture was called where it was found, and what was left out, is no part of what a model learns.
NOTES = (SPLIT, EXCLUDED, REFUSED)


@dataclass(frozen=True)
class LabelRow:
    """What a model is told of a picture of the data set, a line of labels.csv. `side`: train, valid (validation) or
    test."""

    file: Name
    label: str
    sha256: str
    side: str


@dataclass(frozen=True)
class SplitRow(PictureRow):
    """All that is known of a picture of the data set, a line of manifest.csv. `side`: as of a LabelRow."""

    side: str = ""


@dataclass(frozen=True)
class Excluded:
    """A usable picture that is not in the data set, a line of excluded.csv. `file`: as its own source calls it."""

    file: str
    label: str
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True)
class RefusedFile:
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
