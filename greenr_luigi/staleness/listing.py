"""The names of the files below a folder, and a part of them: stages may share the files of a large folder."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: The file beside an output that says what it was made from; no part of the output, nor of what a stage reads.
STAMP = "stamp.json"
#: The file by which a folder says that it is a data root (data_root.py).
DATA_ROOT = "data-root.json"
SETTLED_NS = 2_000_000_000
#: Seconds: a listing that took less is not worth remembering. (Not the memo's: what lists pictures needs no memo.)
QUICK = 0.05
#: What other systems than this one hide, or put beside people's files, in small letters.
HIDDEN = frozenset(
    {
        *(
            "thumbs.db",
            "ehthumbs.db",
            "ehthumbs_vista.db",
            "desktop.ini",
            "$recycle.bin",
            "system volume information",
        ),
        *("__macosx", "icon\r", "@eadir", "lost+found"),
    }
)
#: Why what has a name may not be had.
UNREACHABLE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Part:
    """Of the files below a folder those that fall to one of `of` stages by a digest of their names: one that comes,
    goes or changes concerns that stage and no other."""

    folder: Path
    number: int = 0
    of: int = 1
    #: These instead, where somebody has named them.
    chosen: tuple[str, ...] | None = None

    def names(self) -> Sequence[str]:
        return _listing(self.folder).parts(self.of)[self.number] if self.chosen is None else self.chosen


@dataclass(frozen=True)
class Said:
    """What somebody says of files, such as the lines of a table that are about them: whatever else the table says, only
    another text is a change."""

    text: str


def part_of(name: bytes, of: int) -> int:
    """To which of so many parts a name falls, whatever others there are."""
    # A checksum such as a CRC is uneven over names that count up.
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) % of


def count(folder: Path) -> int:
    """How many names there are, at most as many as there are files."""
    return len(_listing(folder).names)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is nobody's content."""
    return name.startswith(".") or name.lower() in HIDDEN


def names(top: Path, on_folder: Callable[[str], object] = lambda folder: None) -> Iterator[str]:
    """What lies below a folder and is no folder, by relative name. Nothing hidden, nor behind a link to a folder, as
    these may go in a circle; nor the stamp. `on_folder` gets each folder before it is listed."""
    return (name for name, _ in entries(top, on_folder))


def entries(
    top: Path, on_folder: Callable[[str], object] = lambda folder: None
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """As `names`, each with its entry, which may be asked for its status until the next one is."""
    folders = [""]
    while folders:
        below = folders.pop()
        folder, prefix = (f"{top}/{below}", f"{below}/") if below else (str(top), "")
        on_folder(folder)
        try:
            # Below an open folder a status is found without looking for each folder above it again.
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise_unless_unreachable(error)
            continue
        try:
            with os.scandir(opened) as found:
                for entry in found:
                    name = entry.name
                    if is_hidden(name):
                        continue
                    if _is_folder(entry):
                        if not entry.is_symlink():
                            folders.append(f"{prefix}{name}")
                    elif prefix or name != STAMP:
                        yield f"{prefix}{name}", entry
        finally:
            os.close(opened)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link that leads back to itself.


def order(name: str) -> tuple[tuple[bool, str], ...]:
    """A key to sort relative names by: what lies in a folder before what lies deeper."""
    *folders, last = name.split("/")
    return (*((True, folder) for folder in folders), (False, last))


def raise_unless_unreachable(error: OSError) -> None:
    if error.errno not in UNREACHABLE:
        raise error


#: What changes with a file, or with the names in a folder: device, inode, size, and the times of content and status.
#: A copying program may set the first of these times back, and the second by no means.
State = tuple[int, int, int, int, int]


@dataclass
class _Listing:
    """`states`: of each folder when it was listed. A file that comes or goes changes that of its folder."""

    names: list[str]
    states: dict[str, State | None]
    _parts: dict[int, list[list[str]]] = field(default_factory=dict)

    def parts(self, of: int) -> list[list[str]]:
        if of not in self._parts:
            parts: list[list[str]] = [[] for _ in range(of)]
            for name in self.names:
                parts[part_of(os.fsencode(name), of) if of > 1 else 0].append(name)
            self._parts[of] = parts
        return self._parts[of]

    def holds(self) -> bool:
        return all(state(folder) == then for folder, then in self.states.items())


_listings: dict[Path, _Listing] = {}


def is_settled(mtime_ns: int) -> bool:
    """Whether a folder's time would tell of a change now: one in the same tick of the clock leaves it as it is."""
    return time.time_ns() - mtime_ns > SETTLED_NS


def _listing(folder: Path) -> _Listing:
    """Of a large folder it is remembered, since each of many stages looks for its part of it."""
    if (known := _listings.get(folder)) and known.holds():
        return known
    _listings.pop(folder, None)
    began, states = time.monotonic(), dict[str, State | None]()
    listing = _Listing([*names(folder, lambda path: states.setdefault(path, state(path)))], states)
    took = time.monotonic() - began
    # By the clock of when it began.
    changed = max((max(then[-2:]) for then in states.values() if then), default=0)
    if took > QUICK and is_settled(changed + round(took * 1e9)):
        _listings[folder] = listing
    return listing


def state(path: str) -> State | None:
    """None for what is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path for each of thousands of folders takes long
    except OSError as error:
        raise_unless_unreachable(error)
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
