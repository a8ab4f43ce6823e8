"""Regular files, opened: only here. Who opens a pipe waits for whoever writes to it, and a device may have no end: what
somebody has put in the place of a file must neither hold us up nor fill the memory."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFileError(IsADirectoryError):
    """What lies in the place of a file is something else, a folder or not; `strerror` says what."""


def descriptor(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """As os.open. Raises NotAFileError for what is no regular file, nor a link to one."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116  `open` may give a text
    except FileNotFoundError:
        kind = stat.S_IFREG
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotAFileError(errno.ELOOP, "a link there leads back to itself", str(path)) from None
        raise
    if kind != stat.S_IFREG:
        what = f"it is {KINDS.get(kind, 'something else')}, where a file is expected"
        raise NotAFileError(errno.EISDIR, what, str(path))
    # What has come in its place since is not waited for either.
    return os.open(path, flags | os.O_NONBLOCK, mode)


def opened(path: Path, mode: str = "rb", **how: Any) -> Any:
    """As Path.open. Raises NotAFileError as `descriptor`."""
    return open(path, mode, opener=descriptor, **how)


def read(path: Path) -> bytes:
    """As Path.read_bytes. Raises NotAFileError as `descriptor`."""
    with reading(path) as file:
        return bytes(file.read())


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The file, open to be read. An OSError names it: of one whose disk fails, the system does not say which."""
    try:
        with opened(path) as file:
            yield file
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def copy(old: str | Path, new: str | Path) -> None:
    """The content and the times. Who may read it is as of all that is made now."""
    shutil.copyfile(old, new)
    status = os.stat(old)  # noqa: PTH116
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


def real(path: Path) -> Path:
    """As Path.resolve, which before Python 3.13 raises RuntimeError for a link that leads back to itself; here such a
    link stays as it is."""
    return Path(os.path.realpath(path))
