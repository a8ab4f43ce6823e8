"""The data root: the folder of all outputs. It is marked as such, and held by whoever works in it.
It is for its owner alone, and so is all that is made in it. Whom a person lets in by its mode (chmod) stays let in, and
may read what is made from then on. A folder that held other things before is left as it is (`--root /tmp`, `--root .`).

<root>/data-root.json   says that the folder is ours, and the version of its format; the first run writes it
<root>/data-root.lock   shared by all runs, each until its process ends; held alone by whoever deletes
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from . import file_system, listing, locks, regular
from .locks import PATIENCE, OnWait

MARKER, LOCK = listing.DATA_ROOT, "data-root.lock"
#: How the name of a marker that is being written begins.
BESIDE = f".{MARKER}."
FORMAT = 1
ABOUT = "Outputs of Luigi stages. Only what the stages made is ever deleted here."
#: Of one that was closed to others, once, and of one that is not ours to close. Earlier versions wrote OPEN.
CLOSED, FOREIGN = (
    json.dumps({"format": FORMAT, "about": ABOUT, "closed": closed}, indent=1) + "\n"
    for closed in (True, False)
)
OPEN = json.dumps({"format": FORMAT, "about": ABOUT}, indent=1) + "\n"

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


def make(root: Path) -> None:
    """Make the folder, if there is none, for its owner alone; one that root makes belongs to whose folder it lies in.

    Until this process ends, what it makes is for those alone whom the data root lets in. Libraries write there, too:
    no mode could be asked of each."""
    try:
        root.mkdir(mode=0o700, parents=True)
        if os.geteuid() == 0:
            above = root.parent.stat()
            os.chown(root, above.st_uid, above.st_gid)
    except FileExistsError:
        if not root.is_dir():
            raise
    status = root.stat()
    if status.st_uid == os.geteuid():
        let_in = stat.S_IMODE(status.st_mode) & 0o055 if _marker(root) == CLOSED else 0
        os.umask(0o077 & ~let_in)
    else:
        # What root makes in another's, the owner has to read. In others' than that, nobody has.
        os.umask(0o022 if os.geteuid() == 0 else 0o077)


def mark(root: Path) -> None:
    """Make a folder a data root, if it is none, and close it to others, if it holds nothing else. One that only lacks
    the marker was made by a version before it."""
    make(root)
    if _marker(root) in (CLOSED, FOREIGN):
        return
    # Looked at before the marker is: who marks it meanwhile may have made more by now.
    others = {path.name for path in root.iterdir() if not path.name.startswith(BESIDE)} - {MARKER, LOCK}
    there = _marker(root)
    # Earlier versions, when killed, left the beginning of it; what else lies there is not ours.
    if there in (CLOSED, FOREIGN) or not any(text.startswith(there) for text in (CLOSED, FOREIGN, OPEN)):
        return
    ours = there == OPEN or not others
    if (root / MARKER).is_symlink():
        raise OSError(
            errno.ELOOP, "it is a symbolic link, which may lead anywhere: remove it", str(root / MARKER)
        )
    beside = root / f"{BESIDE}{uuid.uuid4().hex}"
    try:
        with regular.opened(beside, "x") as file:
            # Not before it can be written there: /proc is no data root.
            if ours:
                _close(root)
            file.write(CLOSED if ours else FOREIGN)
        # Whole at once: another run that begins reads it.
        beside.replace(root / MARKER)
    finally:
        beside.unlink(missing_ok=True)
    make(root)


def _marker(root: Path) -> str:
    path = root / MARKER
    return regular.read(path).decode(errors="replace") if path.exists() else ""


def _close(root: Path) -> None:
    """To others than those to whom a person has: a group, if it is closed to all the rest."""
    mode = root.stat().st_mode
    if mode & stat.S_IRWXO:
        # It may be another user's, or of a file system that has no modes.
        with contextlib.suppress(PermissionError):
            root.chmod(stat.S_IMODE(mode) & ~(stat.S_IRWXG | stat.S_IRWXO))


def hold(root: Path, on_wait: OnWait, patience: float = PATIENCE) -> None:
    """Share a data root with other runs until this process ends: nobody deletes there meanwhile. `on_wait` gets a
    sentence that says who is waited for. Raises LockTimeoutError after `patience` seconds.

    Not for a block only: between two stages of a run, nothing else tells that the output of the first is wanted."""
    if root in _held and not locks.is_at(_held[root], root / LOCK):
        os.close(_held.pop(root))
    if root not in _held:
        if why_not_ours(root):
            return  # Nobody deletes there.
        file_system.require_locks(root / LOCK)
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
