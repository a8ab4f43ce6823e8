"""Whose picture is next: visitors take turns, so that the many of one keep nobody else's single one waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from greenr_luigi.web.problem import busy

Result = TypeVar("Result")
#: Pictures that a thread does in a row before it lets something else have its turn, such as giving memory back.
IN_A_ROW = 16


class Job(NamedTuple):
    """The work for one picture, and what will hold what came of it."""

    work: Callable[[], Any]
    result: Future[Any]


class Turns:
    """Threads that work for visitors in turns (round robin): next is who has the fewest pictures in hand, of these who
    has waited longest since the last one.

    `places`: for so many pictures that wait. When they are taken, a visitor with fewer pictures takes the place of the
    last picture of who has the most.
    """

    def __init__(self, threads: int, places: int) -> None:
        self.threads, self.room = threads, threads + places
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="picture")
        self.lock = threading.Lock()
        #: Each visitor's pictures that wait; whose turn it is comes first.
        self.waiting: dict[str, deque[Job]] = {}
        self.in_hand: Counter[str] = Counter()
        #: Threads that are at it. They go on while pictures wait: to wake one for each takes longer.
        self.at_it = 0
        #: When each picture in hand was begun, and when the last one was done, by time.monotonic().
        self.begun: set[float] = set()
        self.last_done: float | None = None

    @property
    def pending(self) -> int:
        """Pictures that wait or are in hand. One whose request gave up counts until its thread is done."""
        with self.lock:
            return self._pending()

    def _pending(self) -> int:
        return sum(map(len, self.waiting.values())) + self.in_hand.total()

    def make_room(self, visitor: str, count: int) -> None:
        """For so many more pictures, beside those of others. Raises Problem: 503 "busy" if it cannot be made. Those
        whose pictures make it have the same."""
        leave = list[Job]()
        with self.lock:
            pending = self._pending()
            if pending and pending + count > self.room:
                lengths = Counter({one: len(jobs) for one, jobs in self.waiting.items()})
                mine = lengths.pop(visitor, 0) + count
                leaving = Counter[str]()
                for _ in range(pending + count - self.room):
                    longest = max(lengths, key=lengths.__getitem__, default="")
                    if lengths[longest] <= mine:
                        raise busy("pictures")
                    lengths[longest] -= 1
                    leaving[longest] += 1
                leave = [self.waiting[one].pop() for one in leaving.elements()]
        for job in leave:
            if job.result.set_running_or_notify_cancel():
                job.result.set_exception(busy("pictures"))

    def submit(self, visitor: str, work: Callable[[], Result]) -> Future[Result]:
        """Have the work done when it is the visitor's turn."""
        result = Future[Result]()
        with self.lock:
            self.waiting.setdefault(visitor, deque()).append(Job(work, result))
            wanted = self.at_it < self.threads
            self.at_it += wanted
        if wanted:
            self.pool.submit(self._work)
        return result

    def _work(self) -> None:
        """Do what is next until nothing waits."""
        while True:
            for _ in range(IN_A_ROW):
                if not self._do_next():
                    return
            with contextlib.suppress(RuntimeError):  # The pool is closed: nothing else comes.
                self.pool.submit(self._work)
                return

    def _do_next(self) -> bool:
        """Do what is next by now, if whoever asked has not given up; False if nothing is, and the thread may rest."""
        began = time.monotonic()
        with self.lock:
            waiting = [one for one, jobs in self.waiting.items() if jobs]
            if not waiting:
                self.at_it -= 1
                return False
            # Of those with the fewest in hand, min() gives the first.
            visitor = min(waiting, key=self.in_hand.__getitem__)
            work, result = self.waiting[visitor].popleft()
            self.in_hand[visitor] += 1
            self.begun.add(began)
        try:
            if result.set_running_or_notify_cancel():
                settle(result, work)
        finally:
            with self.lock:
                self.begun.discard(began)
                self.last_done = time.monotonic()
                self.in_hand[visitor] -= 1
                # To the end of the turn; who has nothing left is forgotten.
                jobs = self.waiting.pop(visitor)
                if jobs or self.in_hand[visitor]:
                    self.waiting[visitor] = jobs
                self.in_hand = +self.in_hand
        return True


def settle(result: Future[Any] | asyncio.Future[Any], work: Callable[[], Any]) -> None:
    """As concurrent.futures does: whatever the work gives or raises is for who waits for it."""
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001
        result.set_exception(error)
    else:
        result.set_result(value)
