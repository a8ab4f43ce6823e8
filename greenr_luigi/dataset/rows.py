"""What SplitDataset says of each picture: in the data set, left out of it, or never taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.manifest import PictureRow

SPLIT, EXCLUDED, REFUSED = "manifest.csv", "excluded.csv", "refused.json"


@dataclass(frozen=True)
class SplitRow(PictureRow):
    """A picture of the data set, a line of manifest.csv. `side`: train, valid (validation) or test."""

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


def read_split(dataset: Path, *sides: str) -> list[SplitRow]:
    """The rows of a SplitDataset folder on the given sides, sorted by file."""
    rows = manifest.read_csv(dataset / SPLIT, SplitRow)
    return sorted((row for row in rows if row.side in sides), key=lambda row: row.file)


def read_excluded(dataset: Path) -> list[Excluded]:
    """Empty for a data set that was made by hand."""
    path = dataset / EXCLUDED
    return manifest.read_csv(path, Excluded) if path.exists() else []


def read_refused(dataset: Path) -> list[RefusedKind]:
    """Empty for a data set of a version that did not write it."""
    path = dataset / REFUSED
    return contracts.read(path, list[RefusedKind]) if path.exists() else []
