"""Work that goes on side by side, each piece taken as soon as it has ended: one that takes long holds up
none of the others, as a slow host would hold up all that was asked with it."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnderWay(Generic[Item, Result]):
    """What a function begins, each with its item: `most` at a time, and `most_of` for items that are `of` the same, as
    of one host. The others wait, and each kind has its turn. `len`: so many have not been given back."""

    def __init__(
        self,
        begin: Callable[[Item], Future[Result]],
        of: Callable[[Item], str],
        most: int,
        most_of: int,
    ) -> None:
        self._begin, self._of, self._most, self._most_of = begin, of, most, most_of
        #: All that were not given back, and those of them that have been let go.
        self._count = self._gone = 0
        self._ended = SimpleQueue[tuple[Item, Future[Result]]]()
        self._running = Counter[str]()
        self._waiting = defaultdict[str, deque[Item]](deque)
        #: Those of which one waits and may go.
        self._turns = deque[str]()

    def __len__(self) -> int:
        return self._count

    def start(self, item: Item) -> None:
        """As soon as it is its turn."""
        self._count += 1
        name = self._of(item)
        self._waiting[name].append(item)
        if len(self._waiting[name]) == 1 and self._running[name] < self._most_of:
            self._turns.append(name)
        self._go()

    def ended(self) -> list[tuple[Item, Result]]:
        """What has ended, as it did: waits for the first, if any is under way. Raises what a call has raised."""
        ended = [self._ended.get() for _ in range(max(self._ended.qsize(), min(self._count, 1)))]
        self._count -= len(ended)
        self._gone -= len(ended)
        for item, _ in ended:
            name = self._of(item)
            if self._waiting[name] and self._running[name] == self._most_of:
                self._turns.append(name)
            self._running[name] -= 1
        self._go()
        return [(item, future.result()) for item, future in ended]

    def _go(self) -> None:
        while self._turns and self._gone < self._most:
            name = self._turns.popleft()
            item = self._waiting[name].popleft()
            self._running[name] += 1
            self._gone += 1
            if self._waiting[name] and self._running[name] < self._most_of:
                self._turns.append(name)
            self._begin(item).add_done_callback(functools.partial(self._put, item))

    def _put(self, item: Item, ended: Future[Result]) -> None:
        self._ended.put((item, ended))
