"""The data root: the folder of all outputs. It is marked as such, and held by whoever works in it.

<root>/data-root.json   says that the folder is ours, and the version of its format; the first run writes it
<root>/data-root.lock   shared by all runs, each until its process ends; held alone by whoever deletes
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from . import locks, regular
from .locks import PATIENCE, OnWait

MARKER, LOCK = "data-root.json", "data-root.lock"
FORMAT = 1
ABOUT = "Outputs of Luigi stages. Only what the stages made is ever deleted here."
CONTENT = json.dumps({"format": FORMAT, "about": ABOUT}, indent=1) + "\n"

#: By data root: the file descriptor that holds it.
_held: dict[Path, int] = {}


def why_not_ours(root: Path) -> str | None:
    """Why nothing may be deleted in a folder, in words; None if it is a data root of a format that is known here."""
    try:
        found = json.loads(regular.read(root / MARKER))["format"]
    except (FileNotFoundError, NotADirectoryError):
        return f"{root} is no data root, for it has no {MARKER}: check the path; a run there writes that file"
    except OSError as error:
        return f"{root / MARKER} cannot be read ({error.strerror}): mend that, or move it away"
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{root / MARKER} is torn, or another program's: move it away; a run writes it anew"
    if found != FORMAT:
        return f"{root} has format {found}, and this version knows format {FORMAT} only: use the one that made it"
    return None


def mark(root: Path) -> None:
    """Make a folder a data root, if it is none. One that only lacks the marker was made by a version before it."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / MARKER
    # A killed writer leaves the beginning of it; what else lies there is not ours.
    if not path.exists() or (
        CONTENT.encode() != (there := regular.read(path)) and CONTENT.encode().startswith(there)
    ):
        # Not through a link: it may lead anywhere.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(regular.descriptor(path, flags), "w") as file:
            file.write(CONTENT)


def hold(root: Path, on_wait: OnWait, patience: float = PATIENCE) -> None:
    """Share a data root with other runs until this process ends: nobody deletes there meanwhile. `on_wait` gets a
    sentence that says who is waited for. Raises LockTimeoutError after `patience` seconds.

    Not for a block only: between two stages of a run, nothing else tells that the output of the first is wanted."""
    if root in _held and not locks.is_at(_held[root], root / LOCK):
        os.close(_held.pop(root))
    if root not in _held:
        if why_not_ours(root):
            return  # Nobody deletes there.
        _held[root] = locks.opened(root / LOCK)
    _lock(_held[root], root, fcntl.LOCK_SH, on_wait, patience)


@contextlib.contextmanager
def held_alone(root: Path, on_wait: OnWait) -> Iterator[None]:
    """No run is under way in the data root meanwhile, and none begins. As `hold`."""
    descriptor = locks.opened(root / LOCK)
    try:
        _lock(descriptor, root, fcntl.LOCK_EX, on_wait, PATIENCE)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, root: Path, kind: int, on_wait: OnWait, patience: float) -> None:
    def say_who(who: str) -> None:
        on_wait(f"waits for {who}, which works in {root}")

    locks.take(descriptor, root / LOCK, kind, say_who, patience)
