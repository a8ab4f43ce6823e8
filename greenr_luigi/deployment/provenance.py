"""sources.json: where a release's pictures came from, and which of them its model has learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.dataset.rows import SplitRow

NAME = "sources.json"


@dataclass(frozen=True)
class Origin:
    """How many pictures came from one engine under one licence; the licence is empty where it is not known."""

    engine: str
    license: str
    pictures: int


@dataclass(frozen=True)
class Provenance:
    """Origins, most pictures first; and the sha16 of each picture that the model learned from or was chosen by: the
    next model must not be compared on these. None in releases that do not tell."""

    sources: list[Origin]
    learned_from: list[str] | None = None


def provenance_of(rows: Sequence[SplitRow]) -> Provenance:
    """The provenance of a model that was made from the rows of a data set."""
    counted = Counter((row.engine or "unknown", row.license or "") for row in rows)
    return Provenance(
        [Origin(engine, licence, pictures) for (engine, licence), pictures in counted.most_common()],
        sorted(Path(row.file).stem for row in rows if row.side != "test"),
    )


def read_provenance(release: Path) -> Provenance:
    """Empty for a release that does not tell, or not so that it can be read."""
    try:
        return contracts.read(release / NAME, Provenance)
    except (FileNotFoundError, contracts.ContractError):
        return Provenance([])
