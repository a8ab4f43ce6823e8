"""Files that are written whole, and files of lines that several may add to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


def write(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, after a power cut too."""
    beside = _beside(path)
    try:
        beside.write_bytes(data)
        flush(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")


def flush(path: Path) -> None:
    """To the disk, so that a power cut after a rename does not leave an empty file under the new name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def update(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file by what `change` makes of it; of nothing, if there is no file. Others who update it
    wait. When `change` raises, the file stays as it was. Raises OSError if what was written does not read back."""
    path = path.resolve()
    while True:
        with path.open("ab") as file:
            _lock(file, path)
            # Another may have replaced it while this one waited.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                data = change(path.read_bytes())
                write(path, data)
                if path.read_bytes() != data:
                    raise OSError(errno.EIO, "what was written does not read back", str(path))
                return


def append(path: Path, lines: Callable[[bytes], bytes]) -> None:
    """Add whole lines to a file, as `update` does: those that `lines` gives for what stands there. They begin on a
    fresh line, even if whoever wrote the last one was cut short."""
    update(path, lambda old: old + (b"\n" if old and not old.endswith(b"\n") else b"") + lines(old))


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Whoever asks for the same lock file waits meanwhile, and `on_wait` is called once. The kernel gives the lock back
    when its process dies."""
    with path.open("ab") as file:
        try:
            _lock(file, path, fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            _lock(file, path)
        yield


def _lock(file: IO[bytes], path: Path, how: int = 0) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | how)
    except OSError as error:
        error.filename = str(path)  # The system names none.
        raise


def link(old: Path, new: Path) -> None:
    """The same file under a second name where the file system can, a copy where it cannot; whole or not at all."""
    try:
        os.link(old, new)
    except OSError:
        beside = _beside(new)
        shutil.copy2(old, beside)
        beside.replace(new)
