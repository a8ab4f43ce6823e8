"""Files that are written whole."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from greenr_luigi.staleness import regular
from greenr_luigi.staleness.holders import user_name

#: Errors of opening that say that nothing lies under a name, or something else than a file: ENXIO, a socket.
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)


def write(path: Path, data: bytes, read_back: bool = False) -> None:
    """Write a file that appears whole or not at all, after a power cut too. One that it replaces hands down its mode
    and, where the system permits, its owner. An OSError names `path`; with `read_back`, it is raised also if what was
    written does not read back."""
    with _beside(path) as beside, regular.opened(beside, "xb") as file:
        _keep_mode(path, file.fileno())
        file.write(data)
        file.flush()
        # Or a power cut after the rename leaves an empty file under the name.
        os.fsync(file.fileno())
        if read_back and regular.read(beside) != data:
            raise OSError(errno.EIO, "what was written does not read back")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where a file is written, under a name that no person gives. It gets its own when the block ends well, and is
    removed when that raises; an OSError names `path`."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with named(path):
            yield beside
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """A file or folder to the disk, so that a power cut does not take back what was renamed."""
    with named(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_left_of(path: Path, names: str) -> bool:
    """Whether a killed `write` left this, of a file whose name matches the pattern `names`."""
    ours = re.fullmatch(rf"\.(?:{names})\.[0-9a-f]{{32}}", path.name)
    return ours is not None and path.is_file() and not path.is_symlink()


def refuse_link(*paths: Path) -> None:
    """Raises OSError if one of the files or folders that we write to is a symbolic link, and so the writing would go
    elsewhere, such as to the end of a shell's start file."""
    for path in paths:
        if path.is_symlink():
            raise regular.NotAFileError(
                errno.ELOOP, "it is a link, and what is written would go elsewhere", str(path)
            )


def refuse_strange_link(*paths: Path) -> None:
    """Raises OSError if one of the files or folders that we write to is another user's link, which may lead anywhere. A
    person may keep one of their own elsewhere, and link to it."""
    for path in paths:
        if path.is_symlink() and (user := path.lstat().st_uid) not in (0, os.geteuid()):
            whose = f"it is a link of user {user_name(user)}, and what is written would go elsewhere"
            raise regular.NotAFileError(errno.ELOOP, whose, str(path))


def own(folder: Path, name: str) -> Path | None:
    """The regular file of this name in a folder of ours; None if there is none, or if the name or a link leads
    elsewhere. Whoever may write there must not have us show, copy or delete what lies elsewhere."""
    if (file := opened_own(folder, name)) is None:
        return None
    file.close()
    return folder / name


def opened_own(folder: Path, name: str) -> IO[bytes] | None:
    """The file that `own` finds, open to be read: it stays that one, whatever is put in its place or a folder's."""
    *folders, last = name.split("/")
    if {"", ".", ".."} & {*folders, last}:
        return None
    with contextlib.ExitStack() as opened:
        try:
            at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, at)
            for part in folders:
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                opened.callback(os.close, at)
            # A pipe is not waited for.
            file = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return os.fdopen(file, "rb")
    os.close(file)
    return None


def _keep_mode(path: Path, descriptor: int) -> None:
    """Of what is replaced; before there is any content that others may not see."""
    with contextlib.suppress(FileNotFoundError):
        was = path.stat()
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, was.st_uid, was.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(was.st_mode))


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """An OSError names this file: the system names none where a write fails, or the one beside."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        del error.filename2
        raise


def make_private(path: Path) -> None:
    """Close a file or folder of ours to others, if it is there. What belongs to another user, and what a link leads to,
    stays as it is."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        if status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)


def private_folder(path: Path) -> Path:
    """A folder for its owner alone, made if there is none. Raises OSError if it is another user's, who may look into
    it, or that user's link."""
    refuse_strange_link(path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() not in (0, path.stat().st_uid):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    make_private(path)
    return path


def link(old: Path, new: Path) -> None:
    """The same file under a second name where the file system can, a copy where it cannot; whole or not at all."""
    try:
        # By itself, a symbolic link would get the second name.
        os.link(regular.real(old) if old.is_symlink() else old, new)
    except OSError:
        copy(old, new)


def copy(old: Path, new: Path) -> None:
    """Another file with the same content and times; whole or not at all."""
    with _beside(new) as beside:
        regular.copy(old, beside)
