"""Lists of addresses that a person made, such as the tutorial's: a text or CSV file a class, or one CSV for all."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.staleness import regular
from greenr_luigi.text import composed

LABELS = ("label", "class")
ADDRESSES = ("url", "address", "file_url")


def candidates(request: Request) -> Iterator[Candidate]:
    """Each address of the label's list once, in its order. Raises SourceError if there is no list."""
    from greenr_luigi.sources import download

    assert request.folder is not None
    session = download.session(request.allow)
    for url in dict.fromkeys(addresses(request.folder, request.label)):
        yield Candidate(functools.partial(download.fetch, session, url), url)


def addresses(folder: Path, label: str) -> list[str]:
    """The addresses for a label, from its own file in the folder, or from a CSV of label,url in place of a folder."""
    if folder.is_file():
        rows = _rows(folder)
        if not any(_cell(row, LABELS) for row in rows):
            raise SourceError(f"{folder}: expected a header with the columns label,url and lines below it")
        rows = [row for row in rows if composed(_cell(row, LABELS)) == composed(label)]
    else:
        file = _list_of(folder, label)
        if not file.is_file():
            raise SourceError(
                f"--folder {folder} has no list for {label!r}: list addresses in {folder_name(label)}.txt there, "
                "or give a CSV file with the columns label,url"
            )
        rows = _rows(file)
    return [url for row in rows if (url := _cell(row, ADDRESSES))]


def _list_of(folder: Path, label: str) -> Path:
    """The list of a label in a folder, or where it would be."""
    names = dict.fromkeys(name for name in (label, folder_name(label)) if "/" not in name)
    files = [folder / f"{name}{suffix}" for suffix in (".txt", ".csv") for name in names]
    return next((file for file in files if file.is_file()), files[0])


def _rows(path: Path) -> list[dict[str, str]]:
    """The lines of a list that are neither empty nor a comment, by column; without a header, the first cell is the
    address. A line of a text file is one cell."""
    try:
        with regular.opened(path, "r", encoding="utf-8-sig", newline="") as file:
            lines = ([line] for line in file) if path.suffix == ".txt" else csv.reader(file)
            rows = [[cell.strip() for cell in row] for row in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} is not a list of addresses in UTF-8 text: {error}") from None
    rows = [row for row in rows if any(row) and not row[0].startswith("#")]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if set(header).isdisjoint(ADDRESSES):
        return [{ADDRESSES[0]: row[0]} for row in rows]
    # Of two columns of one name the first counts.
    return [dict(reversed([*zip(header, row, strict=False)])) for row in rows[1:]]


def _cell(row: dict[str, str], names: tuple[str, ...]) -> str:
    """The first column of these names, empty if there is none."""
    return next((row[name] for name in names if name in row), "")


def reads(label: str, folder: Path | None, root: Path) -> Mapping[str, Path]:
    if folder is None:
        return {}
    return {"the list of addresses": folder if folder.is_file() else _list_of(folder, label)}


SOURCE = Source(
    "urls",
    "lists of addresses: --folder holds <label>.txt or .csv, or is a CSV of label,url",
    candidates,
    is_list=True,
    needs_folder=True,
    default_limit=0,
    reads=reads,
)
