"""So many requests in so many seconds, by all processes of a data root: a service may count them by address."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import time
import zlib
from pathlib import Path

import msgspec

from greenr_luigi import shared_files
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.file_system import FLOCK

#: Places of a name at most, and names that a file tells apart: of two that it does not, one waits for the other.
MOST, APART = 64, 4096
#: Behind the places: until when a name is closed, in seconds since 1970, and a digest that tells it from others there.
CLOSED = struct.Struct("d8s")
#: Seconds that a name is closed for at most. An engine that failed is asked again no sooner.
MOST_CLOSED = 20 * 3600.0
#: Seconds until a place that another process has is tried again.
POLL = 0.05


class Places:
    """Of each name `many` places, each for one at a time and for `seconds` at least: so many at once and in a second.

    `shared`: a file by which processes agree, if they do. A place in it is a number, when it was taken last, with a
    lock on it: the kernel gives that back when the process dies. For one thread at a time."""

    def __init__(self, many: int, seconds: float, shared: Path | None = None) -> None:
        self._many, self._seconds = min(many, MOST), seconds
        self._taken: dict[int, float] = {}
        self._busy = set[int]()
        self._file: int | None = None
        if shared:
            # Another user's, or one in a folder that is not there yet, is not shared.
            with contextlib.suppress(PermissionError, FileNotFoundError):
                self._file = regular.descriptor(shared, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def take(self, name: str, seconds: float = 0) -> int | float:
        """A place, or after how many seconds to try again. `seconds`: how long ago one must have been taken, if that is
        longer than for others."""
        wait = POLL
        first = _number(name) * MOST
        for place in range(first, first + self._many):
            if place in self._busy or not self._lock(place, fcntl.F_WRLCK):
                continue
            now = time.time()
            # A clock that was set back has left times to come.
            left = max(self._seconds, seconds) - abs(now - self._last(place))
            if left <= 0:
                self._busy.add(place)
                self._note(place, now)
                return place
            self._lock(place, fcntl.F_UNLCK)
            wait = min(wait, left)
        return wait

    def leave(self, place: int) -> None:
        self._busy.discard(place)
        self._lock(place, fcntl.F_UNLCK)

    def close(self, name: str, seconds: float) -> None:
        """Tell the other processes, and those to come, to leave a name alone for so long."""
        if self._file is not None:
            told = CLOSED.pack(time.time() + min(seconds, MOST_CLOSED), _digest(name))
            # As in _note.
            with contextlib.suppress(OSError):
                os.pwrite(self._file, told, _where(name))

    def closed(self, name: str) -> float:
        """For how many seconds more some process has been told to leave a name alone; 0 if none has."""
        data = self._read(CLOSED.size, _where(name))
        if len(data) < CLOSED.size:
            return 0.0
        until, digest = CLOSED.unpack(data)
        left = until - time.time()
        # A clock that was set back since has left times that are too far away.
        return left if digest == _digest(name) and 0 < left <= MOST_CLOSED else 0.0

    def _last(self, place: int) -> float:
        """When a place was taken last, in seconds since 1970."""
        data = self._read(8, place * 8)
        own = self._taken.get(place, 0.0)
        # What could not be written, as to a full disk, counts here all the same.
        return max(own, *struct.unpack("d", data)) if len(data) == 8 else own

    def _read(self, size: int, where: int) -> bytes:
        """Nothing where a disk of the network has lost the file: each process counts for itself then."""
        with contextlib.suppress(OSError):
            return os.pread(self._file, size, where) if self._file is not None else b""
        return b""

    def _note(self, place: int, now: float) -> None:
        self._taken[place] = now
        if self._file is not None:
            # No more is lost on a full disk than that others know.
            with contextlib.suppress(OSError):
                os.pwrite(self._file, struct.pack("d", now), place * 8)

    def _lock(self, place: int, kind: int) -> bool:
        """Whether no other process has it."""
        if self._file is None:
            return True
        try:
            # Of the open file: those of a process would not keep two of its threads apart.
            asked = struct.pack(FLOCK, kind, os.SEEK_SET, place * 8, 8, 0)
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, asked)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            # A file system without such locks: each process counts for itself.
            return True
        return True


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) % APART


def _where(name: str) -> int:
    return APART * MOST * 8 + _number(name) * CLOSED.size


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def keep(path: Path, most: int, seconds: float) -> None:
    """Note one more request in a file that the processes share. Waits while there have been `most` in the last
    `seconds`."""
    while wait := _noted(path, most, seconds):
        time.sleep(wait)


def _noted(path: Path, most: int, seconds: float) -> float:
    """0 if the request is noted, else after how many seconds to try again."""
    wait = 0.0

    def note(content: bytes) -> bytes:
        nonlocal wait
        now = time.time()
        # A clock that was set back since has left times to come; one of another machine may be a little ahead.
        recent = sorted(when for when in _times(content) if abs(now - when) < seconds)[-most:]
        if len(recent) == most:
            wait = recent[0] + seconds - now
            return content
        return msgspec.json.encode([*recent, now])

    shared_files.update(path, note)
    return wait


def _times(content: bytes) -> list[float]:
    """When requests were made, in seconds since 1970. A file that is none of ours tells of none."""
    try:
        return msgspec.json.decode(content, type=list[float])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
