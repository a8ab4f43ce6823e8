"""Files below one folder of a person's that are of one class."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from greenr_luigi.sources.source import Candidate, Unavailable
from greenr_luigi.staleness import listing, regular
from greenr_luigi.staleness.listing import Part, Said
from greenr_luigi.staleness.shown import printable

#: What tells of a data set, and is none of its pictures: a README or licence, a table.
TEXT = re.compile(
    r"(read[ _-]?me|licen[cs]es?|copying|copyright|notice|citation|credits)([ ._-].*)?"
    r"\.(txt|md|rst|html?|pdf|rtf|docx?)"
    r"|readme|licen[cs]e|copying|notice|.*\.(csv|tsv|jsonl)",
    re.IGNORECASE | re.DOTALL,
)


#: How pictures are told from other files by their names.
PICTURES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".avif", ".tif", ".tiff"),
        *(".heic", ".heif", ".jp2", ".ppm", ".pgm"),
    }
)


class Row(NamedTuple):
    """What a line of a table says of a file. `file`: as it is written; `label`: composed (NFC); `place`: where it
    stands."""

    file: str
    label: str
    side: str | None
    group: str | None
    place: str


@dataclass(frozen=True)
class FileSet:
    """All files below `folder`, or those that somebody has named. `name`: the folder, for a person; `side`: train,
    valid or test, where they are given to one."""

    folder: Path
    name: str
    side: str | None = None
    #: What is said of each of them, by relative name, where these are not all.
    rows: Mapping[str, Row] | None = None
    #: What is said of files that are not there.
    missing: Sequence[Row] = ()

    def read(self, number: int = 0, of: int = 1) -> Path | Part:
        """What a stage reads of them: all, or one part of so many."""
        if self.rows is not None:
            if of not in self._divided:
                parts: list[list[str]] = [[] for _ in range(of)]
                for name in self.rows:
                    parts[listing.part_of(os.fsencode(name), of)].append(name)
                self._divided[of] = [*map(tuple, parts)]
            return Part(self.folder, number, of, self._divided[of][number])
        return self.folder if of == 1 else Part(self.folder, number, of)

    @functools.cached_property
    def _divided(self) -> dict[int, list[tuple[str, ...]]]:
        """The names in each of so many parts: each of many stages asks for one."""
        return {}

    def said(self) -> Said | None:
        """What is said of them past their names, if anything is."""
        lines = [
            f"{name}: {row.side}, {row.group}"
            for name, row in (self.rows or {}).items()
            if row.side or row.group
        ]
        lines += [f"{row.file} is missing" for row in self.missing]
        return Said("\n".join(sorted(lines))) if lines else None

    def count(self) -> int:
        return listing.count(self.folder) if self.rows is None else len(self.rows)

    def names(self, number: int = 0, of: int = 1) -> Iterator[str]:
        """By relative name, sorted. The same as traces.walk sees, but for texts about them, so that the stage is stale
        when these change; a pipe would never end."""
        read = self.read(number, of)
        all_names = read.names() if isinstance(read, Part) else listing.names(read)
        for name in sorted(all_names, key=listing.order):
            # Path.is_file would raise PermissionError for a folder that may be listed and not entered.
            if (self.rows is not None or is_taken(name)) and os.path.isfile(self.folder / name):  # noqa: PTH113
                yield name

    def candidate(self, name: str) -> Candidate:
        load, shown = functools.partial(read, self.folder / name), self._shown(name)
        if self.rows is None or (row := self.rows.get(name)) is None:
            return Candidate(load, shown, side=self.side)
        return Candidate(load, shown, side=row.side, group=row.group, place=row.place)

    def absent(self) -> Iterator[Candidate]:
        """Those that are not there, to be refused."""
        for row in self.missing:
            yield Candidate(functools.partial(_no_file, row.file), self._shown(row.file), place=row.place)

    def candidates(self) -> Iterator[Candidate]:
        yield from map(self.candidate, self.names())
        yield from self.absent()

    def _shown(self, name: str) -> str:
        return printable(f"{self.name}/{name}" if self.name else name)


def is_taken(name: str) -> bool:
    """Whether a file of this relative name may be a picture: it is no README or licence, and no table."""
    return not TEXT.fullmatch(name.rpartition("/")[2])


def is_picture(name: str) -> bool:
    return name[name.rfind(".") :].lower() in PICTURES


def read(path: Path) -> bytes:
    """One byte more than a picture may have is enough to refuse it."""
    from greenr_luigi.pictures.unusable import MAX_BYTES

    try:
        with regular.opened(path) as file:
            return bytes(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise Unavailable("unreadable", f"{printable(path)} cannot be read: {error.strerror}") from None


def _no_file(name: str) -> bytes:
    raise Unavailable("missing", f"there is no file {printable(name)}, or there are several")
