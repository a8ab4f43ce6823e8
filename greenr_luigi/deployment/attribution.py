"""attribution.csv: of pictures that searches found, who made them, under which licence, and where they stand."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import tables
from greenr_luigi.dataset.rows import SplitRow

NAME = "attribution.csv"
#: How names of hosts end that only an own network knows.
INSIDE = (
    *(
        "local",
        "localhost",
        "localdomain",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
        "private",
        "home.arpa",
    ),
    *("fritz.box", "test", "invalid", "onion"),
)


@dataclass(frozen=True)
class Credit:
    """A picture as its source describes it; empty is what that did not say. `page`: where it stands, or, where this is
    not known, the picture itself. `license_url`: the licence's own page. `engine`: the search that found it."""

    label: str
    page: str
    author: str
    license: str
    license_url: str
    engine: str


COLUMNS = [field.name for field in dataclasses.fields(Credit)]


def credits_of(rows: Iterable[SplitRow]) -> list[Credit]:
    """By class and page. Of pictures that are a person's own, or come from a person's lists or intranet, nothing is
    told: only what a search has found stands on the web for all."""
    found = [
        Credit(row.label, page, row.author or "", row.license or "", deed(row.license) or "", row.engine)
        for row in rows
        if row.query is not None and is_public(page := row.page_url or row.file_url or "")
    ]
    return sorted(found, key=lambda one: (one.label, one.page, one.author))


def is_public(address: str) -> bool:
    """Whether it looks as if everybody may open it: by a name that the web has, and with no password."""
    try:
        parts = urllib.parse.urlsplit(address)
        host, _ = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    of_web = parts.scheme in ("http", "https") and "@" not in parts.netloc and "." in host
    # A number at its end makes all of it one, as of 0x7f.1.
    named = not re.fullmatch(r"\d*|0x[\da-f]*", host.rpartition(".")[2]) and ":" not in host
    return of_web and named and not f".{host}".endswith(tuple(f".{name}" for name in INSIDE))


def write(path: Path, found: Sequence[Credit]) -> None:
    """None is written where there is nothing to tell."""
    if found:
        tables.write(path, COLUMNS, map(dataclasses.astuple, found))


def read(lines: Iterable[bytes], first: int = 0) -> Iterator[Credit]:
    """Line by line: there may be many, of which those before the `first`, counted from 0, cost little. Ends where it is
    no such table."""
    with contextlib.suppress(csv.Error, UnicodeDecodeError, TypeError):
        records = _records(lines)
        for _ in itertools.islice(records.reader, first):
            pass
        for record in records:
            yield Credit(**record)


def count(lines: Iterable[bytes]) -> int:
    """How many `read` gives."""
    number = 0
    with contextlib.suppress(csv.Error, UnicodeDecodeError):
        for _ in _records(lines).reader:
            number += 1
    return number


def _records(lines: Iterable[bytes]) -> tables.Records:
    """Behind the header. Raises csv.Error where that is another."""
    records = tables.Records((line.decode() for line in lines), restval="")
    if records.fieldnames != COLUMNS:
        raise csv.Error("another table")
    return records


def deed(license: str | None) -> str | None:
    """The page of a Creative Commons licence, such as "CC BY-SA 3.0 de" or "CC0 1.0". None for one that has none, or
    does not say its version."""
    name, commons = (license or "").lower(), "https://creativecommons.org"
    if match := re.fullmatch(r"cc[ -](by(?:-(?:nc|nd|sa))*)[ -](\d\.\d)(?: ([a-z]{2,3}))?", name):
        return f"{commons}/licenses/" + "".join(f"{part}/" for part in match.groups() if part)
    if re.fullmatch(r"cc[ -]?0(?:[ -]1\.0)?", name):
        return f"{commons}/publicdomain/zero/1.0/"
    if re.fullmatch(r"public domain mark(?: 1\.0)?", name):
        return f"{commons}/publicdomain/mark/1.0/"
    return None
