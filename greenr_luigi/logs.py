"""Logs that stay small: a record is a line of bounded length, and the file is rotated, whichever processes write it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from pathlib import Path

from greenr_luigi.staleness import locks, regular
from greenr_luigi.staleness.shown import harmless

#: Characters of a line, and lines of a traceback, of which the last ones stay.
MOST_LINE, MOST_LINES = 1000, 60


class OneLine(logging.Formatter):
    """What follows the first line, such as a traceback, is indented: whatever a visitor sends, what is no record does
    not look like one. What changes a terminal is written as an escape."""

    def format(self, record: logging.LogRecord) -> str:
        first, *more = super().format(record).split("\n")
        if left_out := len(more[:-MOST_LINES]):
            more[:left_out] = [f"({left_out} lines are left out)"]
        return "\n    ".join(bounded(line) for line in (first, *more))


def bounded(line: str) -> str:
    """A line of at most MOST_LINE characters, without what changes a terminal."""
    shown = harmless(line[: MOST_LINE + 1])
    return shown if len(shown) <= MOST_LINE else f"{shown[:MOST_LINE]}…"


class RotatedFile(logging.Handler):
    """Writes to a file that is renamed to `<name>.1` when it has `most_bytes`, `.1` to `.2` and so on: to `most_files`
    in all. Any number of processes may write it: one rotates, each finds the new file when it writes again, and takes
    its standard output and error along, if these went to the old one. At a full disk lines are lost, and no more."""

    def __init__(self, path: Path, most_bytes: int, most_files: int) -> None:
        super().__init__()
        self.path, self.most_bytes, self.most_files = path, most_bytes, most_files
        self.file = self._open()
        #: Whether the last line was cut short.
        self.torn = False

    def _open(self) -> int:
        return regular.descriptor(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except (ValueError, TypeError):
            self.handleError(record)
        else:
            self.write(line)

    def write(self, line: str) -> None:
        """Add a line; lost where that fails."""
        with contextlib.suppress(OSError):
            self._follow()
            data = b"\n" * self.torn + f"{line}\n".encode(errors="backslashreplace")
            self.torn = True
            self.torn = os.write(self.file, data) < len(data)
            if os.fstat(self.file).st_size >= self.most_bytes:
                self._rotate()

    def _follow(self) -> None:
        """Go on in the new file, if another one lies there now."""
        if not locks.is_at(self.file, self.path):
            with contextlib.suppress(FileNotFoundError):  # Its folder was deleted.
                old, self.file = self.file, self._open()
                for standard in (1, 2):
                    with contextlib.suppress(OSError):  # It is closed.
                        if os.path.samestat(os.fstat(standard), os.fstat(old)):
                            os.dup2(self.file, standard)
                os.close(old)

    def _rotate(self) -> None:
        try:
            # Not `self.file`, whose lock a process shares with those that it was forked from.
            lock = regular.descriptor(self.path, os.O_RDONLY)
        except FileNotFoundError:  # It has just been renamed, or its folder was deleted.
            if not self.path.parent.is_dir():
                os.ftruncate(self.file, 0)
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if locks.is_at(self.file, self.path):
                self._rename()
        except BlockingIOError:
            pass  # Another one is at it.
        finally:
            os.close(lock)
        self._follow()

    def _rename(self) -> None:
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self.most_files))]
        try:
            for older, newer in reversed([*zip(names[1:], names, strict=False)]):
                if newer.exists():
                    newer.replace(older)
            for path in self.path.parent.glob(f"{self.path.name}.*"):
                number = re.fullmatch(r"\.(\d+)", path.name.removeprefix(self.path.name))
                if number and int(number[1]) >= self.most_files:
                    path.unlink()
        finally:
            # One file only, or one that cannot be renamed: better none of it than all of the disk.
            if locks.is_at(self.file, self.path):
                os.ftruncate(self.file, 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.file)
        super().close()
