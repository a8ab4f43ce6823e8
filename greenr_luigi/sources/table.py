"""Tables of a person's: a CSV or JSONL file that says which label each file of a folder has, and maybe its side and
group, as Hugging Face's metadata.csv, Kaggle's train.csv and fastai's labels.csv do."""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from greenr_luigi import lists
from greenr_luigi.errors import GreenrError
from greenr_luigi.sources.fileset import Row
from greenr_luigi.staleness import regular
from greenr_luigi.text import composed

SUFFIXES = (".csv", ".tsv", ".jsonl")
#: What columns are called, in small letters and with _ for what separates words; the first that there is counts.
FILES = (
    *(
        "file_name",
        "filename",
        "file",
        "fname",
        "filepath",
        "filepaths",
        "file_path",
        "path",
        "image_path",
        "image_file",
    ),
    *("image", "image_name", "image_id", "img", "img_name", "img_path", "picture", "photo", "id", "name"),
)
LABELS = (
    *(
        "label",
        "labels",
        "class",
        "class_name",
        "label_name",
        "classname",
        "category",
        "species",
        "breed",
        "variety",
    ),
    *("tag", "target", "diagnosis", "classes", "class_id", "label_id"),
)
SIDES = ("split", "side", "set", "subset", "partition", "data_set", "dataset", "is_valid", "is_test")
GROUPS = ("group", "group_id", "groups")
#: Of competitions, to be filled in: its labels are made up.
UNFILLED = re.compile(r"(sample|example)?[ _-]?submission", re.IGNORECASE)
#: What sides of a given split are called, in small letters, and which each is here.
SIDE_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TRUTHS = {"1": True, "true": True, "0": False, "false": False}


class Table(NamedTuple):
    """Rows that have a label; how many have none; and the column that the labels are from."""

    rows: Sequence[Row]
    unlabelled: int
    column: str


def read(path: Path) -> Table | None:
    """What a table says; None for what is none, by its name, header or first line. Raises GreenrError for one that
    cannot be read to its end."""
    try:
        status = path.stat()
        return _read(path, status.st_size, status.st_mtime_ns)
    except OSError:
        return None


def columns(path: Path) -> Sequence[str]:
    """What the columns of a file are called that might be a table."""
    with regular.opened(path) as file:
        head = bytes(file.read(lists.HEAD))
    text = head.decode(lists.encoding(head), "replace")
    lines = (line for line in text.splitlines() if not lists.UNSAID.match(line))
    first = next(lines, "")
    if path.suffix.lower() == ".jsonl":
        try:
            return [*json.loads(first)] if first.lstrip().startswith("{") else []
        except ValueError:
            return []
    return max((lists.cells(first, separator) for separator in lists.SEPARATORS), key=len)


@functools.lru_cache(16)
def _read(path: Path, size: int, mtime_ns: int) -> Table | None:
    if path.suffix.lower() not in SUFFIXES or UNFILLED.match(path.stem):
        return None
    header = columns(path)
    called = {_plain(name): name for name in reversed(header)}

    def column(names: Iterable[str]) -> str | None:
        return next((called[name] for name in names if name in called), None)

    file, label, side, group = map(column, (FILES, LABELS, SIDES, GROUPS))
    if file is None or label is None:
        return None
    cells = _of_json(path) if path.suffix.lower() == ".jsonl" else _of_csv(path, header)
    rows, unlabelled = list[Row](), 0
    for line, said in cells:
        if not (name := said.get(file, "")):
            continue
        if labelled := composed(said.get(label, "")):
            on = _side(side, said.get(side, "")) if side else None
            rows.append(
                Row(
                    name,
                    labelled,
                    on,
                    (said.get(group) if group else None) or None,
                    f"{path.name}, line {line}",
                )
            )
        else:
            unlabelled += 1
    return Table(rows, unlabelled, label)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", composed(name).strip().lower())


def _side(column: str, value: str) -> str | None:
    word = value.lower()
    if (name := _plain(column)).startswith("is_"):
        return (SIDE_OF[name.removeprefix("is_")] if TRUTHS[word] else "train") if word in TRUTHS else None
    return SIDE_OF.get(word)


def _of_csv(path: Path, header: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each line below the header: its number, and its cells by their column."""
    lines = [*lists.said(path)]
    separator = max(lists.SEPARATORS, key=lambda separator: len(lists.cells(lines[0][1], separator)))
    rows = lists.reader([line for _, line in lines[1:]], separator)
    read = 1
    try:
        while read < len(lines):
            number, cells = lines[read][0], next(rows)
            read = 1 + rows.line_num
            yield number, dict(zip(header, map(str.strip, cells), strict=False))
    except csv.Error as error:
        raise GreenrError(
            f"{path}: line {lines[read][0]} cannot be read ({error}): close its quotes, or write it without"
        ) from None


def _of_json(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, line in lists.said(path):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise GreenrError(f"{path}: line {number} is no JSON object: expected one a line, as in "
                              '{"file_name": "1.jpg", "label": "grass"}')  # fmt: skip
        yield number, {name: _text(value) for name, value in said.items()}


def _text(value: object) -> str:
    """Empty for what is no label: null, a list, an object."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip() if isinstance(value, str | int | float) else ""
