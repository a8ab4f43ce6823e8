"""What a run has found that was ended early: the next one of the same folder or list does only the rest.

    <root>/predicting/<16 hex digits>.jsonl    a Beginning, then a Found a line, in the order of the inputs

It goes when a run comes to its end, so there is one only of a run that was killed or is under way.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from greenr_luigi import contracts
from greenr_luigi.lists import is_address
from greenr_luigi.prediction.inputs import Input
from greenr_luigi.prediction.rows import Found, FoundBefore
from greenr_luigi.staleness import locks, regular

FOLDER, NAME = "predicting", re.compile(r"[0-9a-f]{16}\.jsonl")
#: Rows that are looked through for the next input: as many inputs in a row may have vanished since.
WINDOW = 1000


@dataclass(frozen=True)
class Beginning:
    """Of which folder or list, and by which release."""

    given: str
    release: str


class Journal:
    """Of a run for the folder or list `given`, by the release `digest`; what a run by another release has found is
    forgotten. Where it cannot be written, or another run of the same has it, there is none, and `tell` hears of it."""

    def __init__(self, root: Path, given: Path, digest: str, tell: Callable[[str], object]) -> None:
        self.tell, self.descriptor = tell, -1
        place = os.fsencode(regular.real(given))
        self.path = root / FOLDER / f"{hashlib.sha256(place).hexdigest()[:16]}.jsonl"
        beginning = msgspec.json.encode(Beginning(place.decode(errors="backslashreplace"), digest)) + b"\n"
        #: Bytes of the file that tell what was found before.
        self.size = 0
        with self._told():
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self._open()
            with regular.opened(self.path) as file:
                begins_so = file.read(len(beginning)) == beginning
            if begins_so:
                # A line that was left half-written ends here, and is none.
                self._write(b"\n")
            else:
                os.ftruncate(self.descriptor, 0)
                self._write(beginning)
            self.size = os.fstat(self.descriptor).st_size

    def _open(self) -> None:
        """For this process alone. Whoever had it may have removed it meanwhile."""
        while self.descriptor < 0 or not locks.is_at(self.descriptor, self.path):
            self.close()
            self.descriptor = locks.opened(self.path)
            locks.take(self.descriptor, self.path, fcntl.LOCK_EX, lambda who: None, 0, among_threads=True)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            self.tell(f"{self.path}: {error.strerror}: if this run is ended early, the next one begins anew")

    def _write(self, line: bytes) -> None:
        if os.write(self.descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def known(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Found | None]]:
        """Each input with what was found of it before, if its file has not changed since."""
        rows, ahead = self._rows(), dict[str, Found]()
        for given in inputs:
            for found in itertools.islice(rows, WINDOW - len(ahead)):
                ahead.setdefault(found.row.path, found)
            found_before = None
            while given.path in ahead:
                # What stands before it has vanished since, for rows and inputs have one order.
                found_before = ahead.pop(next(iter(ahead)))
            if found_before and found_before.seen == seen(given):
                yield given, FoundBefore(found_before.row)
            else:
                yield given, None

    def _rows(self) -> Iterator[Found]:
        if self.descriptor >= 0:
            with regular.opened(self.path) as file:
                file.readline()
                while file.tell() < self.size:
                    yield from contracts.rows(file.readline(), Found)

    def note(self, found: Found) -> None:
        """What may be otherwise at another try is not noted."""
        if found.seen and self.descriptor >= 0:
            with self._told():
                self._write(msgspec.json.encode(found) + b"\n")

    def end(self) -> None:
        """All has been found."""
        if self.descriptor >= 0:
            with self._told():
                self.path.unlink(missing_ok=True)


def seen(given: Input) -> tuple[int, int] | None:
    """As Found.seen, of an input as it is now; None if there is no such file."""
    if is_address(given.file):
        return 0, 0
    try:
        status = Path(given.file).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def left(root: Path) -> list[Path]:
    """Those that there are under a root."""
    return [path for path in sorted((root / FOLDER).glob("*.jsonl")) if NAME.fullmatch(path.name)]
