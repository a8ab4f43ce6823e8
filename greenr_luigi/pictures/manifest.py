"""Rows that say what each picture is and where it came from, and the files that hold them.

docs/architecture.md lists the columns. Everything written here is a function of its rows alone: no times, no
order of arrival, so that the same pictures give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

    @property
    def perceptual_hash(self) -> PerceptualHash:
        return PerceptualHash(self.dhash, self.phash)


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
    records = sorted(_records(rows), key=lambda r: (r["file"], r["label"], r["sha256"]))
    names = columns(kind)
    tables.write(path, names, ([record[name] for name in names] for record in records))


def read_csv(path: Path, kind: type[Row]) -> list[Row]:
    """Raises ContractError naming file and line if a line is no such row, FileNotFoundError if there is no file."""
    required = [field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]  # type: ignore[arg-type]
    rows = []
    with regular.opened(path, "r", encoding="utf-8", newline="") as file:
        reader = tables.Records(file, restkey="cells too many")
        if missing := [name for name in required if name not in (reader.fieldnames or ())]:
            raise _unreadable(path, 1, kind, f"it has no column {missing[0]}")
        for record in reader:
            cells = {name: cell for name, cell in record.items() if cell or name in required}
            try:
                rows.append(msgspec.convert(cells, kind, strict=False))
            except msgspec.ValidationError as error:
                raise _unreadable(path, reader.line_num, kind, error) from None
    return rows


def _unreadable(path: Path, line: int, kind: type, error: object) -> ContractError:
    return ContractError(
        f"{path}, line {line}: {error}; expected a {kind.__name__}: run the stage that makes it again"
    )
