"""What can go wrong with a stage and a person can mend."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .file_system import NoLocksError
from .holders import belongs
from .locks import LockTimeoutError
from .regular import NotAFileError


class StalenessError(Exception):
    """A stage cannot do its work; the message says what stands in the way and what to do."""


class StampError(StalenessError):
    """A stamp that is there, but is torn or no stamp."""


def no_python(place: object, error: SyntaxError | ValueError) -> str:
    """Why a source file is no Python. Not every fault lies in a line: a null byte does not, and is a ValueError
    before Python 3.11.4."""
    line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
    return f"{place}{line}: {error.msg if isinstance(error, SyntaxError) else error}: mend it"


#: Said of a root that is no folder.
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)

#: Said of a disk, of one's share of it, or of what one file may take (ulimit -f).
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Said of a disk or a file system that fails.
OUT_OF_ORDER = (errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.EUCLEAN)

#: What to do where the operating system refuses a file, by errno.
REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EFBIG: "no file may grow so large: raise `ulimit -f`, or choose another --root",
    errno.EROFS: "the file system is read-only: choose another --root",
    errno.EIO: "the disk is at fault: look at what `dmesg` says of it, or choose another --root",
    errno.EISDIR: "a folder is in the way of a file: move it away",
    errno.ELOOP: "a link is in the way of a file: remove it",
    errno.ENAMETOOLONG: "its name is too long: give a shorter one",
    **dict.fromkeys(
        (errno.ESTALE, errno.EREMOTEIO, errno.EUCLEAN),
        "its file system is out of order: mend that, or choose another --root",
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: raise `ulimit -n`"),
    errno.ENOLCK: "its file system has no locks (NFS without its lock service?): mend that, or choose another --root",
    **dict.fromkeys(
        (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS),
        "its file system does not allow that (one without symbolic links?): choose another --root",
    ),
    errno.EACCES: "no permission to write there: choose another --root or mend its permissions",
    **dict.fromkeys(NO_FOLDER, "no folder can be made there: choose another --root or make it a folder"),
}


@contextlib.contextmanager
def full_disk_told(output: Path) -> Iterator[None]:
    """Raises OSError for whatever goes wrong in the block while the disk of an output is full: libraries say that in
    their own words, or name the wrong file."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        # A library may have removed the file that did not fit, and kept the system's words.
        told = (number for number in FULL if os.strerror(number) in str(error))
        if number := why_full(output.parent) or next(told, None):
            raise OSError(number, os.strerror(number), str(output)) from error
        raise


def why_full(folder: Path) -> int | None:
    """One of `FULL` where a folder has no room for a MiB more, as after a failure to write; else None."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in FULL else None
    return None


def explain(
    error: OSError, output: Path, root: Path, remedies: Mapping[int, str], verb: str = "write"
) -> str | None:
    """What failed while the output of a stage was made, or looked at, under `root`, and the remedy; None if it is not
    known."""
    if isinstance(error, shutil.Error):
        error = _first_of(error)
    # Of a copy, the target is named second, and it is the one that did not fit.
    path = Path(error.filename2 or error.filename or output)
    if isinstance(error, LockTimeoutError):
        return f"waits no longer for {path}, {error.strerror}: end that, or wait until it ends, and run again"
    if isinstance(error, NoLocksError):
        return f"cannot use {root}: {error.strerror}"
    if isinstance(error, NotAFileError):
        return f"cannot use {path}: {error.strerror}: move it away"
    inside = path.is_relative_to(root)
    if error.errno in (errno.EACCES, errno.EPERM) and (verb == "read" or not inside):
        instead = "choose another --root" if inside else "leave it out"
        return f"cannot read {path}: no permission{belongs(path)}; mend its permissions, or {instead}"
    if error.errno in NO_FOLDER and output.parent.is_dir():
        # The root is a folder. In what it fills, `work` misses a file of its own, or is in its own way.
        beside = inside and not path.is_relative_to(output.parent)
        told = beside and error.errno != errno.ENOENT
        return f"cannot write {path}: a file is in the way of a folder: move it away" if told else None
    remedy = remedies.get(error.errno or 0)
    if not inside and error.errno not in FULL:
        # Nothing of ours is written there.
        verb = "use"
        if error.errno in OUT_OF_ORDER:
            remedy = "its disk or file system is at fault: look at what `dmesg` says of it, or leave it out"
    whose = belongs(path) if error.errno == errno.EACCES else ""
    return remedy and f"cannot {verb} {path}{whose}: {remedy}"


def _first_of(error: shutil.Error) -> OSError:
    """The first failure of a copy of a whole folder: each is a source, a target and words that tell the errno."""
    failures = error.args[0] if error.args and isinstance(error.args[0], list) else []
    for _, target, words in failures:
        if number := re.match(r"\[Errno (\d+)\]", str(words)):
            return OSError(int(number[1]), os.strerror(int(number[1])), str(target))
    return error
