"""Lists of addresses that a person made, such as the tutorial's: a text or CSV file a class, or one CSV for
all."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi.pictures.manifest import folder_name, same_text
from greenr_luigi.sources import download
from greenr_luigi.sources.candidates import Candidate, Request, SourceError

LABELS = ("label", "class")
ADDRESSES = ("url", "address", "file_url")


def urls(request: Request) -> Iterator[Candidate]:
    """Each address of the label's list once, in its order. Raises SourceError if there is no list."""
    assert request.folder is not None
    session = download.session()
    for url in dict.fromkeys(addresses(request.folder, request.label)):
        load = functools.partial(download.fetch, session, url)
        yield Candidate(load, "urls", None, url, dated=True)


def addresses(place: Path, label: str) -> list[str]:
    """The addresses for a label: from `place` if it is a CSV of label,url, or from the label's own file in
    it."""
    if place.is_file():
        return [url for name, url in _table(place) if same_text(name, label)]
    for ending in (".txt", ".csv"):
        for name in (label, folder_name(label)):
            path = place / f"{name}{ending}"
            if "/" not in name and path.is_file():
                return _column(path)
    raise SourceError(
        f"--folder {place} has no list for {label!r}: list addresses in {folder_name(label)}.txt there, "
        "or give a CSV file with the columns label,url"
    )


def _records(path: Path) -> list[list[str]]:
    """The cells of each line that is neither empty nor a comment; a text file has one cell a line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = ([line] for line in file) if path.suffix == ".txt" else csv.reader(file)
            rows = [[cell.strip() for cell in row] for row in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} is not a list of addresses in UTF-8 text: {error}") from None
    return [row for row in rows if any(row) and not row[0].startswith("#")]


def _table(path: Path) -> list[tuple[str, str]]:
    rows = _records(path)
    label, address = _find(rows, LABELS), _find(rows, ADDRESSES)
    if label is None or address is None:
        first = ",".join(rows[0]) if rows else ""
        raise SourceError(
            f"{path}: its first line is {first!r}; expected a header with the columns label,url"
        )
    return [(row[label], row[address]) for row in rows[1:] if len(row) > max(label, address)]


def _column(path: Path) -> list[str]:
    """A list with a header, or without one: then the address is the first cell."""
    rows = _records(path)
    column = _find(rows, ADDRESSES)
    return (
        [row[0] for row in rows] if column is None else [row[column] for row in rows[1:] if len(row) > column]
    )


def _find(rows: list[list[str]], names: tuple[str, ...]) -> int | None:
    head = [cell.lower() for cell in rows[0]] if rows else []
    return next((head.index(name) for name in names if name in head), None)
