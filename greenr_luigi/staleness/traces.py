"""What files an output was made from or consists of, and what has changed in them since."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from . import listing, regular
from .listing import Part, Said
from .shown import printable

STAMP = listing.STAMP


class FileTrace(NamedTuple):
    """What a file was. `sha256`: empty for one of a folder that may not be read, of which nothing can be made."""

    size: int
    mtime_ns: int
    sha256: str


#: By file name, relative to the folder.
Snapshot = dict[str, FileTrace]
#: What files are, by device and inode: a hard link to one of them is that file.
Known = Mapping[tuple[int, int], FileTrace]


def file_sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with regular.reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_if_there(path: Path) -> str | None:
    """As file_sha256; None for a file that is not there (any more)."""
    try:
        return file_sha256(path)
    except FileNotFoundError:
        return None


def _sha256_in_folder(path: Path) -> str | None:
    try:
        return sha256_if_there(path)
    except PermissionError:
        return ""


#: What a stage reads: a file, all files of a folder, a part of them, or what somebody says of some.
Read = Path | Part | Said


def walk(path: Path | Part) -> Iterator[tuple[str, os.stat_result]]:
    """Each file under a folder with its status, by relative name, or those of a part of it; or the file itself, by its
    own name.

    Regular files and links to them. Not what is hidden, nor folders behind a link (they may go in a circle), nor the
    stamp, nor what cannot be reached, such as a link to nowhere or a file that has just vanished."""
    if isinstance(path, Path) and path.is_file():
        with contextlib.suppress(FileNotFoundError):
            yield path.name, path.stat()
        return
    looks: Iterator[tuple[str, Callable[[], os.stat_result]]]
    if isinstance(path, Part):
        base = path.folder
        # A Path for each of 100,000 files takes long.
        looks = ((name, functools.partial(os.stat, f"{base}/{name}")) for name in path.names())
    else:
        looks = ((name, entry.stat) for name, entry in listing.entries(path))
    for name, look in looks:
        try:
            status = look()
        except OSError as error:
            listing.raise_unless_unreachable(error)
        else:
            if stat.S_ISREG(status.st_mode):
                yield name, status


def _base(path: Path | Part) -> Path:
    """What the names that `walk` gives are relative to."""
    if isinstance(path, Part):
        return path.folder
    return path.parent if path.is_file() else path


def known(path: Read, recorded: Snapshot) -> Known:
    """Those of the files of a snapshot that are as they were, by size and time."""
    if isinstance(path, Said):
        return {}
    found = ((status, recorded.get(name)) for name, status in walk(path))
    return {
        (status.st_dev, status.st_ino): file
        for status, file in found
        if file and file.sha256 and _is(status, file)
    }


def has_links(folder: Path) -> bool:
    """Whether any file below a folder has another name, too, and so may be one that is known."""
    return any(status.st_nlink > 1 for _, status in walk(folder))


def _is(status: os.stat_result, file: FileTrace) -> bool:
    return (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)


def snapshot(path: Read, known: Known = MappingProxyType({})) -> Snapshot:
    """All files under a folder or of a part of it, or one file. Empty for what does not exist. What is `known` is not
    read."""
    if isinstance(path, Said):
        text = path.text.encode(errors="surrogateescape")
        return {"": FileTrace(len(text), 0, hashlib.sha256(text).hexdigest())}
    base, found = _base(path), Snapshot()
    sha256_of = sha256_if_there if base != path and isinstance(path, Path) else _sha256_in_folder
    for name, status in sorted(walk(path)):
        same = known.get((status.st_dev, status.st_ino))
        if same and _is(status, same):
            found[name] = same
        elif (sha256 := sha256_of(base / name)) is not None:
            found[name] = FileTrace(status.st_size, status.st_mtime_ns, sha256)
    return found


def glance(path: Read) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files under a folder, or of one file: what differs while work goes on was touched."""
    if isinstance(path, Said):
        return {path.text: (0, 0)}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in walk(path)}


def digest(files: Snapshot) -> str:
    """One digest of all names and contents; not of times."""
    lines = "".join(f"{file.sha256}  {name}\n" for name, file in sorted(files.items()))
    # A name need be no text.
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def files_changed(what: str, recorded: Snapshot | None, path: Read) -> str | None:
    """The first difference between a snapshot and the disk, in words; None if there is none. A file is read only if
    its size is the same and its time is not."""
    if recorded is None:
        return f"{what} is a new input"
    if isinstance(path, Said):
        return None if snapshot(path) == recorded else f"{what} was edited"
    base, is_folder = _base(path), isinstance(path, Part) or path.is_dir()
    sha256_of = _sha256_in_folder if is_folder else sha256_if_there

    def subject(name: str) -> str:
        return f"{what} file {printable(name)}" if is_folder else what

    there = set()
    for name, status in walk(path):
        if (file := recorded.get(name)) is None:
            return f"{subject(name)} was added"
        there.add(name)
        same_size = status.st_size == file.size
        # Whoever lets it be read leaves its time as it was.
        touched = status.st_mtime_ns != file.mtime_ns or not file.sha256
        if not same_size or (touched and sha256_of(base / name) != file.sha256):
            return f"{subject(name)} was edited"
    return next((f"{subject(name)} is missing" for name in recorded if name not in there), None)


def entries_changed(what: str, recorded: Mapping[str, object], now: Mapping[str, object]) -> str | None:
    """The first difference between two small tables, in words: "parameter epochs: 4 -> 6"."""
    for name in sorted({*recorded, *now}):
        old, new = recorded.get(name), now.get(name)
        if old != new:
            return (
                f"{what} {name}: {'none' if old is None else old} -> {'none' if new is None else new}".strip()
            )
    return None
