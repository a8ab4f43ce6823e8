"""The place of an output: a symbolic link to a folder that appears whole, and a lock for who changes or reads it."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def made(place: Path) -> Iterator[Path]:
    """An empty folder to fill. When the block ends well, the place points to it at once, and what it pointed to before
    goes; when it raises, all is as it was. Only for whoever holds the place's lock."""
    sweep(place)
    out = place.parent / f".{place.name}.{uuid.uuid4().hex[:8]}"
    out.mkdir()
    try:
        yield out
        link = out.with_name(out.name + ".link")
        link.symlink_to(out.name)
        link.replace(place)
    finally:
        sweep(place)


def sweep(place: Path) -> None:
    """Remove what no link points to: the output just replaced, and what a killed run left half-done. Only for whoever
    holds the place's lock."""
    live = place.parent / place.readlink() if place.is_symlink() else None
    for path in place.parent.glob(f".{glob.escape(place.name)}.*"):
        if path.is_symlink():
            path.unlink()
        elif path != live and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def lock(place: Path, kind: int, waits: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a place, LOCK_EX to change it or LOCK_SH to read it; `waits` hears who holds it, if anyone.

    POSIX record locks are given up by the kernel when the process dies, and no child inherits them."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / f"{place.name}.lock").open("a+") as file:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            waits(file.read().strip() or "it reads what this one would replace")
            fcntl.lockf(file, kind)
        if kind == fcntl.LOCK_EX:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%H:%M:%S')}\n")
            file.flush()
        yield
