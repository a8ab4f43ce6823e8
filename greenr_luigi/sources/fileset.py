"""Files below one folder of a person's that are of one class."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi.sources.source import Candidate, Unavailable
from greenr_luigi.staleness import listing, regular
from greenr_luigi.staleness.listing import Part
from greenr_luigi.staleness.shown import printable

#: What tells of a data set, and is none of its pictures: a README or licence, a table.
TEXT = re.compile(
    r"(read[ _-]?me|licen[cs]es?|copying|copyright|notice|citation|credits)([ ._-].*)?"
    r"\.(txt|md|rst|html?|pdf|rtf|docx?)"
    r"|readme|licen[cs]e|copying|notice|.*\.(csv|tsv|jsonl)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class FileSet:
    """All files below `folder`. `name`: the folder, for a person; `side`: train, valid or test, where they are given to
    one."""

    folder: Path
    name: str
    side: str | None = None

    def read(self, number: int = 0, of: int = 1) -> Path | Part:
        """What a stage reads of them: all, or one part of so many."""
        return self.folder if of == 1 else Part(self.folder, number, of)

    def count(self) -> int:
        return listing.count(self.folder)

    def names(self, number: int = 0, of: int = 1) -> Iterator[str]:
        """By relative name, sorted. The same as traces.walk sees, but for texts about them, so that the stage is stale
        when these change; a pipe would never end."""
        all_names = listing.names(self.folder) if of == 1 else Part(self.folder, number, of).names()
        for name in sorted(filter(is_taken, all_names), key=listing.order):
            if (self.folder / name).is_file():
                yield name

    def candidate(self, name: str) -> Candidate:
        load = functools.partial(read, self.folder / name)
        return Candidate(load, printable(f"{self.name}/{name}"), side=self.side)

    def candidates(self) -> Iterator[Candidate]:
        return map(self.candidate, self.names())


def is_taken(name: str) -> bool:
    """Whether a file of this relative name may be a picture: it is no README or licence."""
    return not TEXT.fullmatch(name.rpartition("/")[2])


def read(path: Path) -> bytes:
    """One byte more than a picture may have is enough to refuse it."""
    from greenr_luigi.pictures.unusable import MAX_BYTES

    try:
        with regular.opened(path) as file:
            return bytes(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise Unavailable("unreadable", f"{printable(path)} cannot be read: {error.strerror}") from None
