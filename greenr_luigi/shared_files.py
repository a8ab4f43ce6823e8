"""Files that several processes change, one after the other."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from greenr_luigi import files
from greenr_luigi.staleness import locks, regular
from greenr_luigi.staleness.locks import PATIENCE, OnWait

#: Seconds to wait for others who update a file, each of whom takes milliseconds.
UPDATE = 30.0
#: Bytes of the last line of a file that whoever adds one gets to see.
LAST_LINE = 1 << 16


def update(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file by what `change` makes of it; of nothing, if there is no file. Others who update it
    wait. When `change` raises, or the disk is full, all is as it was. Raises OSError if what was written does not read
    back, if the file is another user's link, and LockTimeoutError if another process is at it for long."""
    files.refuse_strange_link(path)
    path = regular.real(path)
    with _alone(path):
        files.write(
            path, change(regular.read(path) if path.exists() or path.is_symlink() else b""), read_back=True
        )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes a file meanwhile. What is locked is a file of its own, beside it and as long as this takes:
    whoever may read a file can hold a lock on it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        descriptor = locks.opened(lock)
        try:
            locks.take(descriptor, lock, fcntl.LOCK_EX, lambda _: None, UPDATE, among_threads=True)
            # Whoever was waited for has removed it.
            if locks.is_at(descriptor, lock):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def append(path: Path, lines: Callable[[bytes], bytes]) -> None:
    """Add whole lines to a file, as `update` does: those that `lines` gives for what stands there. They begin on a
    fresh line, even if whoever wrote the last one was cut short."""
    update(path, lambda old: old + (b"\n" if old and not old.endswith(b"\n") else b"") + lines(old))


def append_line(path: Path, line: Callable[[bytes, int], bytes]) -> None:
    """Add a line to a file, however long that is: in place. `line` gets the last line, of which LAST_LINE bytes are
    read, and the size of the file, and gives the new one. Others who write the file wait. When `line` raises, or the
    disk is full, all is as it was."""
    files.refuse_link(path)
    with _alone(path), _opened_or_made(path) as file:
        end = file.seek(0, os.SEEK_END)
        last = os.pread(file.fileno(), LAST_LINE, max(0, end - LAST_LINE))
        begins = b"" if last.endswith(b"\n") or not last else b"\n"
        new = begins + line(last.rstrip(b"\n").rpartition(b"\n")[2], end)
        try:
            with files.named(path):
                if file.write(new) != len(new):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


@contextlib.contextmanager
def _opened_or_made(path: Path) -> Iterator[IO[bytes]]:
    """A file to add to; if there was none, it is removed when the block raises."""
    was_there = path.exists()
    with regular.opened(path, "ab+", buffering=0) as file:
        try:
            yield file
        except BaseException:
            if not was_there:
                path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def locked(path: Path, on_wait: OnWait = lambda _: None, patience: float = PATIENCE) -> Iterator[None]:
    """Whoever asks for the same lock file waits meanwhile, another thread too, and `on_wait` gets words about who holds
    it. The kernel gives the lock back when its process dies. Raises LockTimeoutError after `patience` seconds."""
    descriptor = locks.opened(path)
    try:
        locks.take(descriptor, path, fcntl.LOCK_EX, on_wait, patience, among_threads=True)
        yield
    finally:
        os.close(descriptor)
