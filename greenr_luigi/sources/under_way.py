"""Work that goes on in the threads of a pool, each piece taken as soon as it has ended: one that takes long holds up
none of the others, as a slow host would hold up all that was asked with it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnderWay(Generic[Item, Result]):
    """The calls of one function, each with its item. `len`: so many have not been given back."""

    def __init__(self, pool: Executor, call: Callable[[Item], Result]) -> None:
        self._pool, self._call, self._count = pool, call, 0
        self._ended = SimpleQueue[tuple[Item, Future[Result]]]()

    def __len__(self) -> int:
        return self._count

    def start(self, item: Item) -> None:
        self._count += 1
        future = self._pool.submit(self._call, item)
        future.add_done_callback(lambda ended: self._ended.put((item, ended)))

    def ended(self) -> list[tuple[Item, Result]]:
        """What has ended, as it did: waits for the first, if any is under way. Raises what a call has raised."""
        ended = [self._ended.get() for _ in range(max(self._ended.qsize(), min(self._count, 1)))]
        self._count -= len(ended)
        return [(item, future.result()) for item, future in ended]
