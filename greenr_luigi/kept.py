"""What was found out about a picture, kept under the root by its content: nothing is found out twice, whatever changes
around it.

    <root>/<kind>/<16 hex digits>.sqlite    a row a picture; the name is a digest of all else that shapes what is found

SQLite holds the rows, so that a kill leaves no half of one and runs side by side add to the same file. Nothing but time
is lost with it: what is missing, damaged or cannot be read is found out again. So only what takes longer than to read
it again is kept."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.staleness import regular

#: What checks find out of a picture (pictures/examine.py), what a body sees in it (training/embedding.py), and how it
#: looks when it is small (pictures/thumbnails.py).
CHECKS, FEATURES, THUMBNAILS = "checks", "features", "thumbnails"
NAME = re.compile(r"[0-9a-f]{16}\.sqlite")
#: Bodies as ONNX (training/body_onnx.py). Here, as importing that takes long.
BODIES, BODY = "bodies", re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.onnx")
#: Files that a run may use: of features `auto` those of four views, a fine-tuned body, its integers, and what serves.
KINDS, BODIES_OF_RUN = {CHECKS: 1, FEATURES: 7, THUMBNAILS: 1}, 3
#: Seconds to wait for another run that writes.
PATIENCE = 60.0
#: Files that this process has waited for in vain: a lock that is never given up would cost so long for each class.
_given_up = set[Path]()
#: What SQLite says then.
TAKEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
#: Rows that are asked for at once. SQLite allows no more than 999 values in a question before its version 3.32.
BATCH = 900
#: Rows that are written at once: what a kill may cost.
AT_ONCE = 256
#: Of a file: the features of a million pictures and more.
MOST_BYTES = 8 * 2**30
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


def digest_of(*shaping: object) -> str:
    """What names a file that is kept: 16 hex digits of all that shapes it."""
    return hashlib.blake2b(repr(shaping).encode(), digest_size=8).hexdigest()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """The installed ones of these distributions, by name."""
    found = {}
    for name in libraries:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


class Kept:
    """The file of what `digest` (16 hex digits) names, in a folder, which takes no more in past `most_bytes`. `tell`
    hears, once, why it is done without. Several threads may use it, and no process that is forked meanwhile."""

    def __init__(
        self, folder: Path, digest: str, tell: Callable[[str], object], most_bytes: int = MOST_BYTES
    ) -> None:
        self.path, self.tell, self.most_bytes = folder / f"{digest}.sqlite", tell, most_bytes
        self.connection: sqlite3.Connection | None = None
        self._lock, self._new = threading.RLock(), dict[str, bytes]()
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
        patience = 0 if self.path in _given_up else PATIENCE
        self.connection = sqlite3.connect(self.path, timeout=patience, check_same_thread=False)
        # What a power cut tears is found out again: no need to wait for the disk.
        self.connection.execute("PRAGMA synchronous = OFF")
        with self.connection:
            self.connection.execute("CREATE TABLE IF NOT EXISTS kept (content TEXT PRIMARY KEY, row BLOB)")
        # By this it is told which of them were used last.
        os.utime(self.path)

    def _disconnect(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None

    def _remove(self) -> None:
        self._disconnect()
        for path in (_journal(self.path), self.path):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _doing_without(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            if _code(error) in TAKEN:
                _given_up.add(self.path)
            self._remove() if _is_damage(error) else self._disconnect()
            why = error.strerror if isinstance(error, OSError) else error
            self.tell(f"{self.path}: {why}; {self.path.parent.name} are found out again")

    def known(self, contents: Iterable[str]) -> Iterator[dict[str, bytes]]:
        """What is kept of those of these pictures of which anything is, by content, up to BATCH at a time."""
        asked = iter(contents)
        while self.connection and (some := [*itertools.islice(asked, BATCH)]):
            rows: list[tuple[str, bytes]] = []
            with self._lock, self._doing_without():
                new = {content: self._new[content] for content in some if content in self._new}
                if self.connection:
                    marks = ",".join("?" * len(some))
                    rows = self.connection.execute(
                        f"SELECT content, row FROM kept WHERE content IN ({marks})", some
                    ).fetchall()
            found = ((content, _unpacked(content, row)) for content, row in rows)
            yield {content: value for content, value in found if value is not None} | new

    def get(self, content: str) -> bytes | None:
        """What is kept of one."""
        return next((known[content] for known in self.known([content]) if content in known), None)

    def keep(self, found: Mapping[str, bytes]) -> None:
        """What was found out by content; some of it may be written only when there is more, or by `flush`."""
        with self._lock:
            self._new |= found
            if len(self._new) >= AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write what was found out, whole or not at all."""
        with self._lock:
            rows = [(content, _packed(content, value)) for content, value in self._new.items()]
            self._new = {}
            if self.connection and rows:
                with self._doing_without(), self.connection:
                    if self.path.stat().st_size < self.most_bytes:
                        self.connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", rows)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._disconnect()


def _is_damage(error: Exception) -> bool:
    """Whether a fault says that a file is none of ours, or no longer."""
    return not isinstance(error, OSError) and _code(error) not in NOT_OF_THE_FILE


def _code(error: Exception) -> int | None:
    """SQLite's primary result code, which is the lowest byte."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _packed(content: str, value: bytes) -> bytes:
    """Behind a checksum: SQLite would not see that a byte has changed on the disk."""
    return zlib.crc32(value, zlib.crc32(content.encode())).to_bytes(4) + value


def _unpacked(content: object, row: object) -> bytes | None:
    """None for what `_packed` did not write."""
    if not isinstance(content, str) or not isinstance(row, bytes):
        return None
    return row[4:] if _packed(content, row[4:]) == row else None


def superfluous(root: Path, keep: int) -> list[Path]:
    """The files of each kind, and the bodies, of a root but for as many as `keep` runs may use, of those that were used
    last. And what killed runs left beside them. Ask only while no run is under way."""
    stores = [path for kind, n in KINDS.items() for path in _longest_unused(root / kind, NAME, n * keep)]
    with_journals = [path for store in stores for path in (_journal(store), store) if path.exists()]
    left = [path for path in _all(root / BODIES) if files.is_left_of(path, BODY.pattern)]
    return with_journals + _longest_unused(root / BODIES, BODY, BODIES_OF_RUN * keep) + left


def of_nothing(root: Path, ids: Collection[str]) -> dict[Path, int]:
    """The bytes, by file, of what is kept of pictures whose id (the first 16 digits of their sha256) is not given."""
    question = "SELECT total(length(row)) FROM kept WHERE"
    return {path: size for path in _stores(root) if (size := _rows(path, ids, question))}


def forget(path: Path, ids: Collection[str]) -> None:
    """Remove from a file what `of_nothing` counts. Only while no run is under way."""
    _rows(path, ids, "DELETE FROM kept WHERE")


def _stores(root: Path) -> list[Path]:
    return [path for kind in KINDS for path in _longest_unused(root / kind, NAME, 0)]


def _rows(path: Path, ids: Collection[str], do: str) -> int:
    """Does something to rows of no picture that is given; 0 for a file that is damaged, or in use."""
    with contextlib.suppress(*FAULTS), contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TEMP TABLE here (id TEXT PRIMARY KEY)")
        connection.executemany("INSERT OR IGNORE INTO here VALUES (?)", ((one,) for one in ids))
        with connection:
            rows = connection.execute(f"{do} substr(content, 1, 16) NOT IN here").fetchall()
        if not rows:
            connection.execute("VACUUM")
        return int(rows[0][0]) if rows else 0
    return 0


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
