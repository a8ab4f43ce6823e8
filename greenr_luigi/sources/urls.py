"""Lists of addresses that a person made, such as the tutorial's: a text or CSV file a class, or one CSV for all."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.text import composed

LABELS = ("label", "class")
ADDRESSES = ("url", "address", "file_url")


def candidates(request: Request) -> Iterator[Candidate]:
    """Each address of the label's list once, in its order. Raises SourceError if there is no list."""
    from greenr_luigi.sources import download

    assert request.folder is not None
    session = download.session()
    for url in dict.fromkeys(addresses(request.folder, request.label)):
        yield Candidate(functools.partial(download.fetch, session, url), "urls", None, url, dated=True)


def addresses(folder: Path, label: str) -> list[str]:
    """The addresses for a label, from its own file in the folder, or from a CSV of label,url in place of a folder."""
    if folder.is_file():
        return _addresses_in_table(folder, label)
    for suffix in (".txt", ".csv"):
        for name in (label, folder_name(label)):
            path = folder / f"{name}{suffix}"
            if "/" not in name and path.is_file():
                return _addresses_in_list(path)
    raise SourceError(
        f"--folder {folder} has no list for {label!r}: list addresses in {folder_name(label)}.txt there, "
        "or give a CSV file with the columns label,url"
    )


def _addresses_in_table(path: Path, label: str) -> list[str]:
    rows = _rows(path)
    labels, urls = _column(rows, LABELS), _column(rows, ADDRESSES)
    if labels is None or urls is None:
        header = ",".join(rows[0]) if rows else ""
        raise SourceError(
            f"{path}: its first line is {header!r}; expected a header with the columns label,url"
        )
    whole = [row for row in rows[1:] if len(row) > max(labels, urls)]
    return [row[urls] for row in whole if composed(row[labels]) == composed(label)]


def _addresses_in_list(path: Path) -> list[str]:
    """A list with a header, or without one: then the address is the first cell."""
    rows = _rows(path)
    urls = _column(rows, ADDRESSES)
    if urls is None:
        return [row[0] for row in rows]
    return [row[urls] for row in rows[1:] if len(row) > urls]


def _rows(path: Path) -> list[list[str]]:
    """The cells of each line that is neither empty nor a comment; a text file has one cell a line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = ([line] for line in file) if path.suffix == ".txt" else csv.reader(file)
            rows = [[cell.strip() for cell in row] for row in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} is not a list of addresses in UTF-8 text: {error}") from None
    return [row for row in rows if any(row) and not row[0].startswith("#")]


def _column(rows: list[list[str]], names: tuple[str, ...]) -> int | None:
    """Which column of the header has one of the names."""
    header = [cell.lower() for cell in rows[0]] if rows else []
    return next((header.index(name) for name in names if name in header), None)


def reads(label: str, folder: Path | None, root: Path) -> Mapping[str, Path]:
    return {"the list of addresses": folder} if folder else {}


SOURCE = Source(
    "urls",
    "lists of addresses: --folder holds <label>.txt or .csv, or is a CSV of label,url",
    candidates,
    keeps="listed",
    needs_folder=True,
    default_limit=0,
    reads=reads,
)
