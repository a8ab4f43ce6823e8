"""The rows that say what each picture is and where it came from, and the files that hold them.

docs/architecture.md lists the columns. Everything written here is a function of its rows alone: no times, no
order of arrival, so that the same pictures give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

#: Linux takes 255 bytes in a file name; a stage adds a key, a dot and a few marks to a label.
MAX_LABEL_BYTES = 200


@dataclass(frozen=True)
class Row:
    """A usable picture: a line of `manifest.jsonl`. `file` is relative to the manifest, width and height are
    upright pixels, `dhash` is 16 hex digits and
    `phash` 44, `fetched` is ISO time in UTC or None where the source has no
    such time."""

    file: str
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
    fetched: str | None = None
    phash: str = "0" * 44


@dataclass(frozen=True)
class SplitRow(Row):
    """A picture of the data set: a line of SplitDataset's `manifest.csv`; `side` is train, valid or test."""

    side: str = ""


@dataclass(frozen=True)
class Refusal:
    """What was offered and not taken: a line of `rejected.jsonl`. `reason` is a short constant word."""

    reason: str
    message: str
    file_url: str | None = None


@dataclass(frozen=True)
class Excluded:
    """A usable picture that is not in the data set: a line of `excluded.csv`; `file` as its own source calls
    it."""

    file: str
    label: str
    sha256: str
    reason: str
    detail: str


R = TypeVar("R", Row, SplitRow, Refusal, Excluded)


def write_jsonl(path: Path, rows: Iterable[R]) -> None:
    """A JSON object a line, sorted: pictures by sha256, refusals by address and reason."""
    records = sorted((vars(row) for row in rows), key=_order)
    path.write_text(
        "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8"
    )


def read_jsonl(path: Path, kind: type[R]) -> list[R]:
    """Raises ValueError naming file and line if a line is not such a row, FileNotFoundError if there is no
    file."""
    rows = []
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(kind(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: {error}; expected a JSON object of a {kind.__name__}"
                ) from None
    return rows


def columns(kind: type[R]) -> list[str]:
    """Column names in order; `side` stands behind `label`, where a reader looks for it."""
    names = [field.name for field in dataclasses.fields(kind)]
    if "side" in names:
        names.insert(names.index("label") + 1, names.pop(names.index("side")))
    return names


def write_csv(path: Path, rows: Iterable[R], kind: type[R]) -> None:
    """A table with a header, sorted by file, label and sha256; None is an empty cell."""
    records = sorted((vars(row) for row in rows), key=lambda r: (r["file"], r["label"], r["sha256"]))
    with path.open("w", encoding="utf-8", newline="") as file:
        names = columns(kind)
        file.write(_line(names))
        file.writelines(_line([record[name] for name in names]) for record in records)


def _line(cells: Sequence[object]) -> str:
    """The csv module quotes a carriage return only where lines end in one."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()[:-2] + "\n"


def read_csv(path: Path, kind: type[R]) -> list[R]:
    """Raises ValueError naming file and line if a line is not such a row, FileNotFoundError if there is no
    file."""
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(fields):
            raise ValueError(f"{path}: its columns are {reader.fieldnames}; expected {columns(kind)}")
        return list(_typed(path, reader, kind, fields))


def _typed(path: Path, reader: csv.DictReader[str], kind: type[R], fields: dict[str, str]) -> Iterator[R]:
    for record in reader:
        values: dict[str, Any] = {}
        for name, text in record.items():
            try:
                values[name] = (
                    int(text)
                    if fields[name] == "int"
                    else None
                    if "None" in fields[name] and not text
                    else text
                )
            except (ValueError, TypeError, KeyError):
                where = f"{path}, line {reader.line_num}"
                raise ValueError(
                    f"{where}: {name} is {text!r}; expected {fields.get(name, 'no such cell')}"
                ) from None
        yield kind(**values)


def _order(record: dict[str, Any]) -> tuple[str, str, str]:
    return (record.get("sha256") or "", record.get("file_url") or "", record.get("reason") or "")


def folder_name(label: str) -> str:
    """The name of a label's folder: the label itself, with what a file name cannot hold as `%XX` of its UTF-8
    bytes.

    Different labels have different folders, and `label_name` finds the label again. Raises ValueError if the
    label is empty, too long, or not text.
    """
    if not label.strip():
        raise ValueError(f"the label {label!r} is empty: give each class a name")
    try:
        escaped = re.sub(r"^\.|[/%]|[\x00-\x1f\x7f-\x9f]", lambda match: _percent(match[0]), label)
        length = len(escaped.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the label {label!r} holds what is no character: write it in UTF-8") from None
    if length > MAX_LABEL_BYTES:
        raise ValueError(
            f"the label {label!r} takes {length} bytes in a folder name; at most {MAX_LABEL_BYTES}: shorten"
        )
    return escaped


def label_name(folder: str) -> str:
    """The label whose folder has this name."""
    return urllib.parse.unquote(folder, errors="strict")


def same_text(one: str, other: str) -> bool:
    """Whether two names are one to a reader: file systems and keyboards compose accents differently."""
    return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)


def label_folder(place: Path, label: str) -> Path | None:
    """The sub-folder of a label in a person's folder: of that very name, or of the name that we would give it; None if
    there is none. The first one by name if there are several."""
    folders = [path for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    found = [f for f in folders if same_text(f.name, label) or f.name == folder_name(label)]
    return min((path for path in found if not path.name.startswith(".")), default=None)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
