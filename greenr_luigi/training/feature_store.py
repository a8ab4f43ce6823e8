"""What a body sees in each picture, kept under the root: a picture passes a body once, whatever changes around it.

    <root>/features/<16 hex digits>.sqlite    a row a picture; the name is a digest of all else that shapes features

SQLite holds the rows, so that a kill leaves no half of one and runs side by side add to the same file. Nothing but time
is lost with it: what is missing, damaged or cannot be read is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi import files
from greenr_luigi.staleness import regular

FOLDER, NAME = "features", re.compile(r"[0-9a-f]{16}\.sqlite")
#: Bodies as ONNX (body_onnx.py). Here, as importing that takes long.
BODIES, BODY = "bodies", re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.onnx")
#: Seconds to wait for another run that writes.
PATIENCE = 60.0
#: Rows that are asked for at once. SQLite allows no more than 999 values in a question before its version 3.32.
BATCH = 900
#: What may go wrong; UnicodeError where SQLite's own words hold letters of a damaged file.
FAULTS = (sqlite3.Error, UnicodeError, OSError)
#: SQLite's result codes that say nothing of what a file holds (https://sqlite.org/rescode.html).
NOT_OF_THE_FILE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
Vector = np.ndarray[Any, np.dtype[np.float32]]


def digest_of(*shaping: object) -> str:
    """What names a file that is kept: 16 hex digits of all that shapes it."""
    return hashlib.blake2b(repr(shaping).encode(), digest_size=8).hexdigest()


class FeatureStore:
    """The file of those features that `digest` (16 hex digits) names, in a folder. `tell` hears, once, why it is done
    without. Use it in one thread."""

    def __init__(self, folder: Path, digest: str, tell: Callable[[str], object]) -> None:
        self.path, self.tell = folder / f"{digest}.sqlite", tell
        self.connection: sqlite3.Connection | None = None
        with self._doing_without():
            try:
                self._open()
            except FAULTS as error:
                if not _is_damage(error):
                    raise
                self._remove()
                self._open()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.refuse_link(self.path.parent, self.path)
        # What is no file is refused here; SQLite would wait for a pipe.
        regular.opened(self.path, "ab").close()
        self.connection = sqlite3.connect(self.path, timeout=PATIENCE)
        with self.connection:
            self.connection.execute(
                "CREATE TABLE IF NOT EXISTS features (content TEXT PRIMARY KEY, row BLOB)"
            )
        # By this it is told which of them were used last.
        os.utime(self.path)

    def _remove(self) -> None:
        self.close()
        for path in (_journal(self.path), self.path):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _doing_without(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            self._remove() if _is_damage(error) else self.close()
            why = error.strerror if isinstance(error, OSError) else error
            self.tell(f"{self.path}: {why}; features are computed again")

    def known(self, contents: Iterable[str]) -> Iterator[dict[str, Vector]]:
        """The features of those of these pictures that have some here, by content, up to BATCH at a time."""
        asked = iter(contents)
        while self.connection and (some := [*itertools.islice(asked, BATCH)]):
            rows: list[tuple[str, bytes]] = []
            with self._doing_without():
                marks = ",".join("?" * len(some))
                rows = self.connection.execute(
                    f"SELECT content, row FROM features WHERE content IN ({marks})", some
                ).fetchall()
            found = ((content, _unpacked(content, row)) for content, row in rows)
            yield {content: vector for content, vector in found if vector is not None}

    def keep(self, found: Mapping[str, Vector]) -> None:
        """Features by picture, whole or not at all."""
        if self.connection:
            rows = [(content, _packed(content, vector)) for content, vector in found.items()]
            with self._doing_without(), self.connection:
                self.connection.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)

    def close(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_damage(error: Exception) -> bool:
    """Whether a fault says that a file is none of ours, or no longer. The lowest byte is the primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return not isinstance(error, OSError) and (code is None or code & 0xFF not in NOT_OF_THE_FILE)


def _packed(content: str, vector: Vector) -> bytes:
    """The values, little-endian, behind a checksum: SQLite would not see that a byte has changed on the disk."""
    values = np.asarray(vector, "<f4").tobytes()
    return zlib.crc32(values, zlib.crc32(content.encode())).to_bytes(4) + values


def _unpacked(content: object, row: object) -> Vector | None:
    """None for what `_packed` did not write."""
    if not isinstance(content, str) or not isinstance(row, bytes) or len(row) % 4:
        return None
    vector = np.frombuffer(row[4:], "<f4")
    return vector if _packed(content, vector) == row else None


def superfluous(root: Path, keep: int) -> list[Path]:
    """The files of features, and of bodies, of a root but for the `keep` of each that were used last; a body in 8-bit
    integers counts as one more. And what killed runs left beside them. Ask only while no run is under way."""
    stores = _longest_unused(root / FOLDER, NAME, keep)
    features = [path for store in stores for path in (_journal(store), store) if path.exists()]
    left = [path for path in _all(root / BODIES) if files.is_left_of(path, BODY.pattern)]
    return features + _longest_unused(root / BODIES, BODY, 2 * keep) + left


def _all(folder: Path) -> list[Path]:
    return [] if folder.is_symlink() else [*folder.glob("*")]


def _longest_unused(folder: Path, name: re.Pattern[str], keep: int) -> list[Path]:
    found = [
        path
        for path in _all(folder)
        if name.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)[keep:]


def _journal(store: Path) -> Path:
    """What SQLite keeps beside a file while it writes. It goes first: SQLite would take it for the next file's."""
    return store.with_name(f"{store.name}-journal")
