"""An output folder that appears whole, behind a symbolic link, and a lock for whoever replaces or reads it."""

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
def atomic_folder(link: Path) -> Iterator[Path]:
    """An empty folder to fill. When the block ends well, `link` points to it at once, and the folder that it pointed to
    before is removed; when the block raises, all is as it was. Only for whoever holds the lock of `link`."""
    remove_leftovers(link)
    folder = link.parent / f".{link.name}.{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    try:
        yield folder
        new_link = folder.with_name(folder.name + ".link")
        new_link.symlink_to(folder.name)
        new_link.replace(link)
    finally:
        remove_leftovers(link)


def remove_leftovers(link: Path) -> None:
    """Remove the folders of `link` to which it does not point: an output just replaced, and what a killed run left.
    Only for whoever holds the lock of `link`."""
    current = link.parent / link.readlink() if link.is_symlink() else None
    for path in link.parent.glob(f".{glob.escape(link.name)}.*"):
        if path.is_symlink():
            path.unlink()
        elif path != current and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def copy_output(old: Path, new: Path, without: str) -> None:
    """Fill the empty folder `new` with what `old` holds but for the file `without`: the same files under a second name
    where the file system can, copies where it cannot."""
    shutil.copytree(
        old,
        new,
        ignore=lambda folder, names: [without] if Path(folder) == old else [],
        copy_function=_link,
        dirs_exist_ok=True,
    )


def _link(old: str, new: str) -> None:
    try:
        os.link(Path(old).resolve(), new)
    except OSError:
        shutil.copy2(old, new)


@contextlib.contextmanager
def lock(link: Path, kind: int, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of an output: LOCK_EX to replace it, LOCK_SH to read it. If another one holds it, `on_wait` gets a
    sentence that says who.

    The kernel gives up a POSIX record lock when its process dies, and no child process inherits it."""
    link.parent.mkdir(parents=True, exist_ok=True)
    with (link.parent / f"{link.name}.lock").open("a+") as file:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "it reads what this one would replace"
            on_wait(f"waits for another run of {link.parent.name}: {holder}")
            fcntl.lockf(file, kind)
        if kind == fcntl.LOCK_EX:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%H:%M:%S')}\n")
            file.flush()
        yield
