"""How hosts are asked: each a few times at once and in a second, not before it says, and in the end not at all where
nothing is answered."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from greenr_luigi.guarded_http import Unfetched
from greenr_luigi.sources.pace import Places
from greenr_luigi.sources.source import AT_ONCE, PASSING

#: The file by which the processes of a data root agree, below it.
SHARED = "hosts.lock"
#: Seconds until it is looked again whether it is a request's turn.
POLL = 0.05
#: Requests at once to begin with, and at least. One more for each answer that is there within SOON, one less for each
#: that takes LONG (seconds): where they share a slow line, more would have each take longer, and miss its deadline.
FIRST, LEAST = 128, 16
SOON, LONG = 8.0, 16.0
#: Failures of a host in a row after which none of its addresses is tried twice, and after which it is asked no more.
DOUBTFUL, GIVEN_UP = 8, 16
#: The power of two of the seconds for which a host is left alone at most that is asked too often, and does not say.
MOST_PAUSE = 4
#: Requests in a row, to whatever hosts, that nobody answered, after which nothing is tried twice: there is no network.
AWAY = 64
#: What speaks of a whole host, and not of one of its addresses.
OF_HOST = ("network", "slow", "http-429", "http-503")


class NotAsked(Unfetched):
    """The host is not asked now, or not any more."""


@dataclass
class Host:
    """What is known of a host that is asked."""

    #: Not to be asked before (time.monotonic), and why: the reason of an Unfetched.
    closed_until: float = 0.0
    why: str = "http-429"
    #: In a row.
    failures: int = 0
    given_up: bool = False
    #: Has whoever is next; those behind need not look.
    queue: asyncio.Lock = field(default_factory=asyncio.Lock)


class Hosts:
    """What is known of the hosts that somebody asks. `a_second`: requests to each, of which half as many are under way
    at a time; 0: no bound. `root`: the data root whose processes share these. `patience`: seconds that a request waits
    for a host that says when to ask again."""

    def __init__(self, a_second: float = 0, root: Path | None = None, patience: float = 30) -> None:
        self._places = None
        if a_second:
            many = at_once(a_second)
            self._places = Places(many, many / a_second, root and root / SHARED)
        self._patience = patience
        self._hosts = defaultdict[str, Host](Host)
        self._unanswered = 0
        self._most = min(FIRST, AT_ONCE)
        self._running = asyncio.Semaphore(self._most)
        self._lock = threading.Lock()

    @contextlib.asynccontextmanager
    async def turn(self, url: URL) -> AsyncIterator[None]:
        """The block asks the host of an address, when it is its turn; how that ends is noted. Raises NotAsked."""
        name = name_of(url)
        place, began, leaves = await self._placed(name), time.monotonic(), 1
        try:
            yield
        except Unfetched as error:
            self._note(name, error.reason, error.retry_after)
            raise
        except asyncio.CancelledError:
            self._note(name, "slow")
            raise
        else:
            self._note(name, "")
            leaves += self._more(time.monotonic() - began)
        finally:
            for _ in range(leaves):
                self._running.release()
            if self._places:
                with self._lock:
                    self._places.leave(place)

    def _more(self, seconds: float) -> int:
        """How many more may be asked at once after an answer that took so long."""
        more = 0
        if seconds < SOON:
            more = self._most < AT_ONCE
        elif seconds >= LONG:
            more = -(self._most > LEAST)
        self._most += more
        return more

    async def _placed(self, name: str) -> int:
        """A place of a host, and one of those for all, when there is one. Raises NotAsked."""
        async with self._hosts[name].queue:
            while True:
                await self._running.acquire()
                try:
                    place = self._take(name)
                except NotAsked:
                    self._running.release()
                    raise
                if isinstance(place, int):
                    return place
                self._running.release()
                await asyncio.sleep(place)

    def wait(self, url: URL, tries: int) -> float | None:
        """Seconds after which to try an address again that has failed so many times; None: not at all."""
        with self._lock:
            host = self._hosts[name_of(url)]
            if host.failures >= DOUBTFUL or self._unanswered >= AWAY:
                return None
            # Full jitter: those who failed together do not come back together.
            return max(random.uniform(0, 2.0**tries / 2), host.closed_until - time.monotonic())

    def _take(self, name: str) -> int | float:
        """A place, or seconds after which to try again."""
        with self._lock:
            host = self._hosts[name]
            if host.given_up:
                words = f"{name} is not asked any more in this run, in which {GIVEN_UP} requests in a row have failed"
                raise NotAsked("given-up", words)
            elsewhere = self._places.closed(name) if self._places else 0
            if (wait := max(host.closed_until - time.monotonic(), elsewhere)) > self._patience:
                raise NotAsked(host.why, f"{name} is not asked, for {wait:.0f} seconds more, as it says")
            if wait > 0:
                return max(wait, POLL)
            return self._places.take(name) if self._places else 0

    def _note(self, name: str, reason: str, retry_after: float | None = None) -> None:
        """How a request ended: empty, or why it failed."""
        with self._lock:
            host = self._hosts[name]
            answered = reason not in ("network", "slow")
            self._unanswered = 0 if answered else self._unanswered + 1
            passes = PASSING.fullmatch(reason) is not None
            host.failures = host.failures + 1 if passes else 0
            if reason == "http-429" and retry_after is None:
                retry_after = random.uniform(0, 2.0 ** min(host.failures, MOST_PAUSE))
            if retry_after is not None:
                host.closed_until = max(host.closed_until, time.monotonic() + retry_after)
                if self._places:
                    self._places.close(name, retry_after)
                # What is not asked for then will be, whatever the one address was refused for.
                host.why = reason if passes else "http-429"
            if host.failures >= GIVEN_UP and reason in OF_HOST:
                host.given_up = True


def at_once(a_second: float) -> int:
    """How many requests to a host may be under way where so many are made in a second; 0: any number."""
    return math.ceil(a_second / 2) or AT_ONCE


def name_of(url: URL) -> str:
    """A host, and its port if that is not the web's."""
    return f"{url.host}" if url.port in (80, 443) else f"{url.host}:{url.port}"
