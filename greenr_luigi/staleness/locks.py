"""Locks among processes, by files, and among the threads of one.

A lock is waited for until a deadline, and whoever waits is told who holds it, by the word of the kernel: a file may say
of one process what was true of another. Lock files are for their owner alone, since whoever may read one can hold it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import regular
from .holders import process

#: Gets words about who is waited for, at first and then every `TELL` seconds.
OnWait = Callable[[str], None]
#: Seconds to wait for another run. A training may take hours; of runs that a schedule starts daily, only one waits.
PATIENCE = 24 * 3600.0
#: Seconds until the second try and, since each pause is twice as long, at most between two; and between two words about
#: who is waited for.
POLL, MOST_POLL, TELL = 0.002, 0.2, 60.0
#: Who holds a lock of which the kernel does not tell.
UNSEEN = "a process that has just ended, or of another machine or container"


class LockTimeoutError(TimeoutError):
    """A lock that was not to be had in time; `strerror` says who holds it."""


def opened(path: Path) -> int:
    """The descriptor of a lock file, made if there is none. One of ours is closed to others. One that root makes
    belongs to whose folder it lies in, who could not open it otherwise."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        descriptor = regular.descriptor(path, flags | os.O_EXCL, 0o600)
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    except FileExistsError:
        descriptor = regular.descriptor(path, flags, 0o600)
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o700)
    return descriptor


def is_at(file: int, path: Path) -> bool:
    """Whether this name is still that of the file open as the descriptor `file`: one that is waited for, or held for
    long, may have been removed, replaced, or made again with its folder."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def take(
    file: int,
    path: Path,
    kind: int,
    on_wait: OnWait,
    patience: float = PATIENCE,
    among_threads: bool = False,
) -> None:
    """Take the lock of the file `path`, open as the descriptor `file`: LOCK_SH, or LOCK_EX for one process alone. If
    another process holds it, `on_wait` is called while this waits; what that raises ends it.

    Raises LockTimeoutError when `patience` seconds have passed. An OSError names `path`.

    The kernel gives such a lock up when its process dies or closes the file, and no child process inherits it.
    `among_threads`: a lock that threads hold against each other, too, and a child process inherits (flock).
    """
    began = time.monotonic()
    told, pause = -TELL, POLL
    while True:
        try:
            (fcntl.flock if among_threads else fcntl.lockf)(file, kind | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            waited = time.monotonic() - began
            if waited - told >= TELL:
                told = waited
                on_wait(holder(file, among_threads))
            if waited >= patience:
                raise late(path, patience, holder(file, among_threads)) from None
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        time.sleep(min(pause, max(0, patience - waited)))
        pause = min(2 * pause, MOST_POLL)


def late(path: Path, patience: float, who: str) -> LockTimeoutError:
    return LockTimeoutError(errno.ETIMEDOUT, f"held for {_duration(patience)} by {who}", str(path))


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds:g} seconds"


def holder(file: int, among_threads: bool) -> str:
    """Who holds the lock of an open file that could not be had, in words. Not by asking for the holder of that lock
    (F_GETLK): where machines share a file system, that gives the number of a process on any of them."""
    pids = pids_of(os.fstat(file), "FLOCK" if among_threads else "POSIX")
    # Its own locks keep a process out only among threads.
    other = next((pid for pid in pids if pid > 0 and (among_threads or pid != os.getpid())), 0)
    return process(other) if other else UNSEEN


def pids_of(status: os.stat_result, kind: str) -> list[int]:
    """Of the locks of a file that the kernel of this machine keeps itself, FLOCK, POSIX or OFDLCK, whose they are: by
    /proc/locks, where a line reads `1: FLOCK  ADVISORY  WRITE 2089 fd:01:395297 0 EOF`. Not positive where it cannot be
    told."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    # Those who wait have an arrow in the second place.
    held = [row for row in rows if row[1] == kind and row[5].split(":")[-1] == str(status.st_ino)]
    # Some file systems (btrfs) have another device there than a file says.
    exact = [row for row in held if row[5].startswith(device)]
    return [int(row[4]) for row in exact or held]


def thread_lock() -> threading.RLock:
    """A lock among the threads of a process, which no child process inherits."""
    lock = threading.RLock()
    os.register_at_fork(after_in_child=lock._at_fork_reinit)  # type: ignore[attr-defined]
    return lock
