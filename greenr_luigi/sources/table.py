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
from greenr_luigi.sources.fileset import Row, is_picture
from greenr_luigi.text import composed

SUFFIXES = (".csv", ".tsv", ".jsonl")
#: What columns are called, by lists.plain; the first that there is counts.
FILES = (
    *("filename", "file", "fname", "filepath", "filepaths", "path", "imagepath", "imagefile"),
    *("imagefilename", "image", "imagename", "imageid", "imgid", "img", "imgname", "imgpath"),
    *("picture", "pictureid", "photo", "photoid", "idcode", "id", "name"),
)
#: Of competitions, to be filled in: its labels are made up.
UNFILLED = re.compile(r"(sample|example)?[ _-]?submission", re.IGNORECASE)
#: What sides of a given split are called, in small letters, and which each is here.
SIDE_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "validate", "dev", "eval", "evaluation"), "valid"),
    **dict.fromkeys(("test", "testing", "pred", "holdout"), "test"),
}
#: Words of a side's name that tell nothing, as in train_images and Test Set.
COMMON = frozenset(
    ("set", "data", "dataset", "split", "images", "image", "imgs", "img", "pictures", "photos", "samples")
)
TRUTHS = {"1": True, "true": True, "0": False, "false": False}
ZEROS, ONES = frozenset(("0", "0.0")), frozenset(("1", "1.0"))


class Table(NamedTuple):
    """Rows that have a label, and the column that the labels are from. `guessed`: no columns are
    called as ours are, and there is but one way to take them."""

    rows: Sequence[Row]
    column: str
    guessed: bool = False


def words(name: str) -> list[str]:
    """In small letters, and without numbers: trainImages2017 is train, images."""
    return re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


@functools.lru_cache(4096)
def side_and_rest(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The side that a folder, a table or a cell names, and its other words, such as flowers in flowers_train."""
    sides, rest = list[str](), list[str]()
    for word in words(name):
        if side := SIDE_OF.get(word) or SIDE_OF.get(word.removesuffix("set")):
            sides.append(side)
        elif word not in COMMON:
            rest.append(word)
    return (sides[0] if len(sides) == 1 else None), tuple(rest)


def side_called(name: str) -> str | None:
    """The side that a name stands for, alone: Train, train_images or test1, but not "test tube"."""
    found, rest = side_and_rest(name)
    return None if rest else found


def columns(path: Path) -> Sequence[str]:
    """What the columns of a file are called that might be a table."""
    lines = (line for line in lists.beginning(path).splitlines() if not lists.UNSAID.match(line))
    first = next(lines, "")
    if path.suffix.lower() == ".jsonl":
        try:
            return [*json.loads(first)] if first.lstrip().startswith("{") else []
        except ValueError:
            return []
    return lists.cells(first, _separator(first))


def _separator(line: str) -> str:
    return max(lists.SEPARATORS, key=lambda separator: len(lists.cells(line, separator)))


def read(path: Path) -> Table | None:
    """What a table says; None for what is none, by its name, header or first line. Raises GreenrError for one that
    cannot be read to its end."""
    try:
        return _read(path)
    except OSError:
        return None


def _read(path: Path) -> Table | None:
    if path.suffix.lower() not in SUFFIXES or UNFILLED.match(path.stem):
        return None
    header, is_json = columns(path), path.suffix.lower() == ".jsonl"
    headless = not is_json and any(map(is_picture, header))
    first = [is_picture(name) for name in header].index(True) if headless else 0
    if headless:
        header = [f"{number}" for number in range(1, len(header) + 1)]
    called = {lists.plain(name): name for name in reversed(header)}

    def column(names: Iterable[str]) -> str | None:
        return next((called[name] for name in names if name in called), None)

    file, label, side, group = map(column, (FILES, lists.LABELS, lists.SIDES, lists.GROUPS))
    if headless:
        file = header[first]
    guessed = file is None or label is None
    file = file or _of_pictures(path, header)
    rest = [name for name in header if name not in {file, label, side, group}]
    if file is None and label is not None and len(rest) == 1:
        file = rest.pop()
    if file is None or (label is None and not rest):
        return None
    cells = _of_json(path) if is_json else _of_csv(path, header, headless)
    try:
        said_of = [*cells]
    except GreenrError:
        if guessed:
            return None
        raise
    hot = _one_hot(rest, said_of) if label is None and len(rest) > 1 else {}
    if label is None and not hot:
        if len(rest) > 1:
            return None
        label = rest[0]
    rows = list[Row]()
    for line, said in said_of:
        if not (name := said.get(file, "")):
            continue
        if labelled := composed(hot.get(line, "") if label is None else said.get(label, "")):
            on = side_told(side, said.get(side, "")) if side else None
            of_group = composed(said.get(group, "")) or None if group else None
            rows.append(Row(name, labelled, on, of_group, f"{path.name}, line {line}"))
    return Table(rows, label or f"{rest[0]} to {rest[-1]}", guessed)


def _of_pictures(path: Path, header: Sequence[str]) -> str | None:
    """The one column whose first cell is called as a picture is, and is no address."""
    lines = lists.first(path)[:2]
    if not (header and lines):
        return None
    if path.suffix.lower() == ".jsonl":
        cells = {name: _text(value) for name, value in json.loads(lines[0]).items()}
    else:
        cells = dict(zip(header, lists.cells(lines[-1], _separator(lines[0])), strict=False))
    names = [name for name, cell in cells.items() if is_picture(cell) and not lists.is_address(cell)]
    return names[0] if len(names) == 1 else None


def _one_hot(names: Sequence[str], cells: Sequence[tuple[int, Mapping[str, str]]]) -> dict[int, str]:
    """The label of each line in which one of several columns is 1, and all others 0; empty where they are not so."""
    hot = [name for name in names if all(said.get(name) in ZEROS | ONES for _, said in cells)]
    found = {line: [name for name in hot if said[name] in ONES] for line, said in cells}
    if len(hot) < 2 or any(len(labels) > 1 for labels in found.values()):
        return {}
    return {line: labels[0] for line, labels in found.items() if labels}


def side_told(column: str, value: str) -> str | None:
    """By a cell of a column that tells sides, such as `split` or `is_valid`."""
    if (name := lists.plain(column)).startswith("is"):
        word = value.lower()
        return (SIDE_OF[name.removeprefix("is")] if TRUTHS[word] else "train") if word in TRUTHS else None
    return side_called(value)


def _of_csv(path: Path, header: Sequence[str], headless: bool) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each line below the header, if there is one: its number, and its cells by their column."""
    lines = [*lists.lines_of(path)]
    separator = _separator(lines[0][1])
    read = above = int(not headless)
    rows = lists.reader([line for _, line in lines[above:]], separator)
    try:
        while read < len(lines):
            number, cells = lines[read][0], next(rows)
            read = above + rows.line_num
            yield number, dict(zip(header, map(str.strip, cells), strict=False))
    except csv.Error as error:
        raise GreenrError(
            f"{path}: line {lines[read][0]} cannot be read ({error}): close its quotes, or write it without"
        ) from None


def _of_json(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    for number, line in lists.lines_of(path):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise GreenrError(
                f"{path}: line {number} is no JSON object: expected one a line, as in "
                '{"file_name": "1.jpg", "label": "grass"}'
            )
        yield number, {name: _text(value) for name, value in said.items()}


def _text(value: object) -> str:
    """Empty for what is no label: null, a list, an object."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).strip() if isinstance(value, str | int | float) else ""
