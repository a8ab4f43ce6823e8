"""Locks among processes, by files, and among the threads of one."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from .errors import named


def take(file: int | IO[str], path: Path, kind: int, on_wait: Callable[[], None]) -> None:
    """Take the POSIX record lock of the open file `path`: LOCK_SH, or LOCK_EX for one process alone. If another process
    holds it, `on_wait` is called before this waits; what that raises ends it. An OSError names `path`.

    The kernel gives such a lock up when its process dies or closes the file, and no child process inherits it."""
    try:
        with named(path):
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        on_wait()
        with named(path):
            fcntl.lockf(file, kind)


def thread_lock() -> threading.RLock:
    """A lock among the threads of a process, which no child process inherits."""
    lock = threading.RLock()
    os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]
    return lock
