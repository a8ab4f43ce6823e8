"""Files that are written whole, and files of lines that several may add to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from greenr_luigi.staleness import locks, regular
from greenr_luigi.staleness.holders import user_name
from greenr_luigi.staleness.locks import PATIENCE, OnWait

#: Seconds to wait for others who update a file, each of whom takes milliseconds.
UPDATE = 30.0
#: Bytes of the last line of a file that whoever adds one gets to see.
LAST_LINE = 1 << 16
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


def update(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the content of a file by what `change` makes of it; of nothing, if there is no file. Others who update it
    wait. When `change` raises, or the disk is full, all is as it was. Raises OSError if what was written does not read
    back, if the file is another user's link, and LockTimeoutError if another process is at it for long."""
    refuse_strange_link(path)
    path = regular.real(path)
    with _alone(path):
        write(path, change(regular.read(path) if path.exists() or path.is_symlink() else b""), read_back=True)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes a file meanwhile. What is locked is a file of its own, beside it and as long as this takes:
    whoever may read a file can hold a lock on it."""
    lock = path.with_name(f".{path.name}.lock")
    while True:
        descriptor = locks.opened(lock)
        try:
            locks.take(descriptor, lock, fcntl.LOCK_EX, lambda _: None, UPDATE, among_threads=True)
            # Whoever was waited for has removed it.
            if locks.is_at(descriptor, lock):
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def append(path: Path, lines: Callable[[bytes], bytes]) -> None:
    """Add whole lines to a file, as `update` does: those that `lines` gives for what stands there. They begin on a
    fresh line, even if whoever wrote the last one was cut short."""
    update(path, lambda old: old + (b"\n" if old and not old.endswith(b"\n") else b"") + lines(old))


def append_line(path: Path, line: Callable[[bytes, int], bytes]) -> None:
    """Add a line to a file, however long that is: in place. `line` gets the last line, of which LAST_LINE bytes are
    read, and the size of the file, and gives the new one. Others who write the file wait. When `line` raises, or the
    disk is full, all is as it was."""
    refuse_link(path)
    with _alone(path), _opened_or_made(path) as file:
        end = file.seek(0, os.SEEK_END)
        last = os.pread(file.fileno(), LAST_LINE, max(0, end - LAST_LINE))
        begins = b"" if last.endswith(b"\n") or not last else b"\n"
        new = begins + line(last.rstrip(b"\n").rpartition(b"\n")[2], end)
        try:
            with named(path):
                if file.write(new) != len(new):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


@contextlib.contextmanager
def _opened_or_made(path: Path) -> Iterator[IO[bytes]]:
    """A file to add to; if there was none, it is removed when the block raises."""
    was_there = path.exists()
    with regular.opened(path, "ab+", buffering=0) as file:
        try:
            yield file
        except BaseException:
            if not was_there:
                path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def locked(path: Path, on_wait: OnWait = lambda _: None, patience: float = PATIENCE) -> Iterator[None]:
    """Whoever asks for the same lock file waits meanwhile, another thread too, and `on_wait` gets words about who holds
    it. The kernel gives the lock back when its process dies. Raises LockTimeoutError after `patience` seconds."""
    descriptor = locks.opened(path)
    try:
        locks.take(descriptor, path, fcntl.LOCK_EX, on_wait, patience, among_threads=True)
        yield
    finally:
        os.close(descriptor)


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
