"""Whether the locks of a file system hold: found out by trying, since no list of names can tell.

Some file systems give a lock to everybody who asks. On others, which several machines may share, the kernel itself
keeps the locks, because the file system has none: they hold among the processes of one machine and no further.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from . import regular
from .locks import opened, pids_of

#: `struct flock` of Linux: type, whence, start, length, pid.
FLOCK = "hhqqi"
REMEDY = "choose another --root, such as one on NFS 4 or GlusterFS"
#: A file in a root by which a person says that no other machine writes there.
ONE_MACHINE = "data-root.one-machine"
#: Options of mounts of NFS and CIFS by which the locks stay on this machine.
STAYS_HERE = re.compile(r"(?:^|,)(nolock|nobrl|local_lock=(?!none)\w+)(?:,|$)")


class NoLocksError(OSError):
    """A lock of this file system holds nobody back; `strerror` says which one it is, and what to do."""


@dataclass(frozen=True)
class Mount:
    kind: str = "unknown"
    source: str = ""
    options: str = ""

    def __str__(self) -> str:
        return f"{self.kind} of {self.source}" if self.source else self.kind


def mount_of(path: Path) -> Mount:
    """Where a file lies, as the kernel lists it: `36 35 98:0 /in /at rw,noatime shared:1 - ext3 /dev/root rw`."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return Mount(*after.split(" ", 2))
    return Mount()


def require_locks(path: Path) -> None:
    """Raises NoLocksError if a lock on this lock file, which is made, would not keep another process out, or not one on
    another machine that shares the file system. Where others share the lock, or one holds it alone, that shows, too.

    Only for who holds no lock on it: closing the file gives that up."""
    first, second = opened(path), opened(path)
    try:
        why = _why_not(first, second, path)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        why = f"gives no locks ({error.strerror}): {REMEDY}"
    finally:
        os.close(second)
        os.close(first)
    if why:
        raise NoLocksError(errno.ENOLCK, f"its file system ({mount_of(path)}) {why}", str(path))


def _why_not(first: int, second: int, path: Path) -> str:
    """Why locks do not hold, by two who want the same one; empty if they do."""
    # Of the open file, as if it were another process: those of one process never keep each other out.
    shared = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(first, fcntl.F_OFD_SETLK, shared)
        fcntl.flock(first, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return ""  # Somebody has kept us out.
    for take in (fcntl.lockf, fcntl.flock):
        try:
            take(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            continue
        return f"gives a lock to two at a time: {REMEDY}"
    mount = mount_of(path)
    fuse = mount.kind.partition(".")[0] == "fuse" and pids_of(os.fstat(first), "OFDLCK")
    if (fuse or STAYS_HERE.search(mount.options)) and not path.with_name(ONE_MACHINE).exists():
        return (
            f"has locks that hold on this machine only: {REMEDY}; or, if "
            f"no other machine writes there, `touch {path.with_name(ONE_MACHINE)}`"
        )
    return ""


def is_held(path: Path) -> bool:
    """Whether another process holds the lock of a file (lockf). It is not taken for that. Raises OSError."""
    file = regular.descriptor(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return bool(struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
    finally:
        os.close(file)
