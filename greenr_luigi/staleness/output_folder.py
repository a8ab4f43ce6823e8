"""An output folder that appears whole, behind a symbolic link, and a lock for whoever replaces or reads it.

    <name>                    the output: a link to the folder that holds it
    .<name>.<8 hex>           that folder, or one that is being filled, or was when its run was killed
    .<name>.<8 hex>.link      a link that is about to become <name>
    <name>.lock               who made the output last; empty if it was only read

Only here are these names given, and known again. What is called otherwise is somebody else's, and is not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from . import regular
from .locks import PATIENCE, OnWait, late, opened, take, thread_lock
from .traces import STAMP

#: What a stage calls its outputs: a digest of their parameters, behind a word or not.
KEY = "[0-9a-f]{12}"
#: What the name of one begins with that was replaced last, and is kept.
EARLIER = "earlier-"
NAME = f"(?:.+-)?{KEY}"
NAMED = re.compile(rf"({NAME})|({NAME})\.lock|\.({NAME})\.[0-9a-f]{{8}}(?:\.link)?", re.DOTALL)
LOCK_CONTENT = re.compile(r"(process \d+ on \S+ since [\d:]+\n)?")


@contextlib.contextmanager
def atomic_folder(link: Path, keep: Callable[[Path], object] = lambda replaced: None) -> Iterator[Path]:
    """An empty folder to fill. When the block ends well, `link` points to it at once, and the folder that it pointed to
    before is removed, unless `keep`, which gets it, moves it away; when the block raises, all is as it was. Only for
    whoever holds the lock of `link`."""
    if not link.is_symlink() and (link / STAMP).is_file():
        # A copy of the root that followed links, as of `cp -rL`, has made a folder of it.
        copy = _new_name(link)
        link.rename(copy)
        link.symlink_to(copy.name)
    remove_leftovers(link)
    folder = _new_name(link)
    folder.mkdir()
    try:
        # Before the work: where there are no links, it would be lost.
        new_link = folder.with_name(folder.name + ".link")
        new_link.symlink_to(folder.name)
        yield folder
        replaced = folder_of(link)
        new_link.replace(link)
        if replaced:
            keep(replaced)
    finally:
        remove_leftovers(link)


def _new_name(link: Path) -> Path:
    return link.parent / f".{link.name}.{uuid.uuid4().hex[:8]}"


def remove_leftovers(link: Path) -> None:
    """Remove the folders of `link` to which it does not point: an output just replaced, and what a killed run left.
    Only for whoever holds the lock of `link`."""
    for path in leftovers(link):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def copy_output(old: Path, new: Path, without: str | None = None) -> None:
    """Fill the empty folder `new` with what `old` holds, but for the file `without`: the same files under a second name
    where the file system can, copies where it cannot."""
    for folder, folders, files in os.walk(old, onerror=_raise, followlinks=True):
        copy = new / Path(folder).relative_to(old)
        for name in folders:
            (copy / name).mkdir()
        for name in files:
            if copy != new or name != without:
                _link(Path(folder, name), copy / name)


def _raise(error: OSError) -> None:
    raise error


def _link(old: Path, new: Path) -> None:
    try:
        os.link(regular.real(old) if old.is_symlink() else old, new)
    except OSError:
        regular.copy(old, new)


def names(stage_folder: Path) -> list[str]:
    """Of the outputs that lie in the folder of a stage, or of which something is left there."""
    matches = filter(None, (NAMED.fullmatch(path.name) for path in stage_folder.iterdir()))
    return sorted({name for match in matches for name in match.groups() if name})


def folder_of(link: Path) -> Path | None:
    """The folder of a finished output, of which each that is made has another; None if there is no link, or none of
    ours."""
    target = str(link.readlink()) if link.is_symlink() else ""
    return link.with_name(target) if re.fullmatch(_folder_name(link), target) else None


def leftovers(link: Path) -> list[Path]:
    """What `remove_leftovers` removes."""
    current, ours = folder_of(link), re.compile(_folder_name(link) + r"(\.link)?")
    found = []
    # Not each of what lies there: of a stage for each of 1,000 classes that is a million.
    for path in sorted(link.parent.glob(f".{glob.escape(link.name)}.*")):
        if match := ours.fullmatch(path.name):
            target = str(path.readlink()) if path.is_symlink() else None
            is_link = match[1] is not None and target == path.stem
            is_folder = match[1] is None and target is None and path.is_dir()
            if is_link or (is_folder and path != current):
                found.append(path)
    return found


def lock_of(link: Path) -> Path | None:
    """The lock of an output, if there is one: a regular file that holds what `lock` writes."""
    path = link.with_name(f"{link.name}.lock")
    ours = (
        path.is_file()
        and not path.is_symlink()
        and LOCK_CONTENT.fullmatch(regular.read(path).decode(errors="replace"))
    )
    return path if ours else None


def _folder_name(link: Path) -> str:
    """A pattern of what `atomic_folder` calls its folders."""
    return rf"\.{re.escape(link.name)}\.[0-9a-f]{{8}}"


#: The kernel tells no threads apart, and gives up a lock as soon as one of them closes the file.
_one_thread = thread_lock()


@contextlib.contextmanager
def lock(link: Path, kind: int, on_wait: OnWait, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of an output: LOCK_EX to replace it, LOCK_SH to read it. If another one holds it, `on_wait` gets a
    sentence that says who. Raises LockTimeoutError after `patience` seconds."""
    link.parent.mkdir(parents=True, exist_ok=True)
    path = link.parent / f"{link.name}.lock"
    with contextlib.ExitStack() as held:
        if not _one_thread.acquire(blocking=False):
            on_wait("waits for another thread of this process")
            if not _one_thread.acquire(timeout=patience):
                raise late(path, patience, "another thread of this process")
        held.callback(_one_thread.release)
        file = held.enter_context(os.fdopen(opened(path), "a", encoding="utf-8"))

        def say_who(who: str) -> None:
            on_wait(f"waits for another run of {link.parent.name}: {who}")

        take(file.fileno(), path, kind, say_who, patience)
        if kind == fcntl.LOCK_EX:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%H:%M:%S')}\n")
            file.flush()
        yield
