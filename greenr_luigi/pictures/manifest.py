"""Rows that say what each picture is and where it came from, and the files that hold them.

docs/architecture.md lists the columns. Everything written here is a function of its rows alone: no times, no
order of arrival, so that the same pictures give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from greenr_luigi import tables
from greenr_luigi.contracts import ContractError, Name
from greenr_luigi.staleness import regular

MANIFEST, REJECTED = "manifest.jsonl", "rejected.jsonl"
#: Left out of a line that has none, so that the manifests of most are as they were before these came.
SELDOM = ("given_side", "group")


class PerceptualHash(NamedTuple):
    """A picture's two hashes (hashing.py), which together tell apart what one alone does not: 16 and 44 hex digits."""

    dhash: str
    phash: str


@dataclass(frozen=True)
class PictureRow:
    """A usable picture: a line of `manifest.jsonl`. `file` is relative to the manifest, width and height are upright
    pixels, `fetched` is ISO time in UTC, or None where the source has no such time. `given_side` (train, valid or test)
    and `group`, of what belongs on one side of a split, are what a person's folder or list says of it, if it does."""

    file: Name
    label: str
    sha256: str
    dhash: str
    width: int
    height: int
    bytes: int
    engine: str
    query: str | None = None
    page_url: str | None = None
    file_url: str | None = None
    license: str | None = None
    author: str | None = None
    fetched: str | None = None
    phash: str = "0" * 44
    given_side: str | None = None
    group: str | None = None

    @functools.cached_property
    def perceptual_hash(self) -> PerceptualHash:
        return PerceptualHash(self.dhash, self.phash)

    def values(self) -> dict[str, Any]:
        """By name, without what a row of another kind has beside. `vars` would lack defaults of one that msgspec made,
        and have what was derived."""
        return {name: getattr(self, name) for name in OWN}


OWN = tuple(field.name for field in dataclasses.fields(PictureRow))

#: The sides of a split, what is held out first: test pictures judge a model, valid (validation) ones choose it.
SIDES = ("test", "valid", "train")


def held_out_first(side: str | None) -> int:
    """A key that sorts sides so, and what has none last."""
    return SIDES.index(side) if side else len(SIDES)


@dataclass(frozen=True)
class Refusal:
    """What was offered and not taken: a line of `rejected.jsonl`. `reason` is a short constant word."""

    reason: str
    message: str
    file_url: str | None = None


Row = TypeVar("Row")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Dataclasses as a JSON object a line, sorted: pictures by sha256, refusals by address and reason."""
    keys = ("sha256", "file_url", "reason")
    records = sorted(_records(rows), key=lambda r: [r.get(key) or "" for key in keys])
    for record in records:
        for name in SELDOM:
            if record.get(name, "") is None:
                del record[name]
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_text("".join(lines), encoding="utf-8")


def read_jsonl(path: Path, kind: type[Row]) -> list[Row]:
    """Raises ContractError naming file and line if a line is no such row, FileNotFoundError if there is no file."""
    rows = []
    with regular.opened(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(msgspec.json.decode(line, type=kind))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _unreadable(path, number, kind, error) from None
    return rows


def _records(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Each row by field. `vars` would lack the defaults of one that msgspec made."""
    names = dict[type, list[str]]()
    for row in rows:
        if (kind := type(row)) not in names:
            names[kind] = [field.name for field in dataclasses.fields(kind)]
        yield {name: getattr(row, name) for name in names[kind]}


def columns(kind: type) -> list[str]:
    """Column names in order; `side` stands behind `label`, where a reader looks for it."""
    names = [field.name for field in dataclasses.fields(kind)]
    if "side" in names:
        names.insert(names.index("label") + 1, names.pop(names.index("side")))
    return names


def write_csv(path: Path, rows: Iterable[Any], kind: type) -> None:
    """Dataclasses as a table with a header, sorted by file, label and sha256; None is an empty cell."""
    names = columns(kind)
    tables.write(
        path, names, map(attrgetter(*names), sorted(rows, key=attrgetter("file", "label", "sha256")))
    )


def read_csv(path: Path, kind: type[Row]) -> list[Row]:
    """Raises ContractError naming file and line if a line is no such row, FileNotFoundError if there is no file."""
    return [*_rows_of(regular.read(path), path, kind)]  # type: ignore[arg-type]


# A run asks a dozen times for the same rows, and 10,000 of them take a tenth of a second. Of how many tables these are
# kept is bounded, for each may hold a hundred megabytes.
@functools.lru_cache(4)
def _rows_of(content: bytes, path: Path, kind: Any) -> tuple[Any, ...]:
    """The rows of a table of that content, which nobody may change."""
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    lines = tables.numbered(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=""))
    line, rows = 1, []
    try:
        _, names = next(lines, (1, list[str]()))
        if missing := required.difference(names):
            raise ValueError(f"it has no column {min(missing, key=columns(kind).index)}")
        for line, cells in filter(itemgetter(1), lines):  # noqa: B007  told below
            told = {name: cell for name, cell in zip(names, cells, strict=False) if cell or name in required}
            rows.append(msgspec.convert(told, kind, strict=False))
    except (csv.Error, ValueError) as error:
        raise _unreadable(path, line, kind, error) from None
    return tuple(rows)


def _unreadable(path: Path, line: int, kind: type, error: object) -> ContractError:
    return ContractError(
        f"{path}, line {line}: {error}; expected a {kind.__name__}: run the stage that makes it again"
    )
