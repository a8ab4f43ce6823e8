"""What has been fetched and is still in memory: a bound on its bytes, so that many more may be under way than would fit
if each were as large as may be."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Iterator

from greenr_luigi.pictures.unusable import MAX_BYTES

#: Bytes in memory that were fetched, or are to come: 64 pictures of the largest size.
MOST = 64 * MAX_BYTES
#: Seconds until it is looked again whether there is room.
POLL = 0.05


class Memory:
    """Room for `most` bytes, for all threads of a process. Who came first is first: else a large picture might wait for
    as long as small ones come. Each asks once, for all that it may need, so that nobody waits for others who wait."""

    def __init__(self, most: int) -> None:
        self._left = most
        #: Not added at once: whoever gives may have interrupted one who adds, as an object ends at any time.
        self._given = deque[int]()
        self._lock = threading.Lock()
        self._queue = deque[object]()

    async def take(self, size: int) -> None:
        """Waits until there is room for so many bytes that are to come."""
        with self._waiting() as me:
            while not self._took(me, size):
                await asyncio.sleep(POLL)

    def hold(self, data: bytes) -> Body:
        """What has come without having been asked for, once there is room."""
        with self._waiting() as me:
            while not self._took(me, len(data)):
                time.sleep(POLL)
        return Body(data)

    def give(self, size: int) -> None:
        """So many bytes are not needed any more."""
        self._given.append(size)

    @property
    def left(self) -> int:
        with self._lock:
            return self._counted()

    def _counted(self) -> int:
        while self._given:
            self._left += self._given.popleft()
        return self._left

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[object]:
        me = object()
        with self._lock:
            self._queue.append(me)
        try:
            yield me
        finally:
            with self._lock:
                self._queue.remove(me)

    def _took(self, me: object, size: int) -> bool:
        with self._lock:
            if may := self._queue[0] is me and self._counted() >= size:
                self._left -= size
            return may


MEMORY = Memory(MOST)
# Who waited or held something in the process that was forked does not here.
os.register_at_fork(after_in_child=functools.partial(MEMORY.__init__, MOST))  # type: ignore[misc]


class Body(bytes):
    """What was fetched: it counts for as long as somebody holds it, who need not know of that."""

    def __del__(self) -> None:
        MEMORY.give(len(self))
