"""Fetching a picture from an address that a visitor gave."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from greenr_luigi import about, guarded_http
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.web.problem import Problem, busy
from greenr_luigi.web.settings import Settings

#: Fetches of one worker at a time, and of one visitor.
AT_ONCE, PER_VISITOR = 32, 4
#: Seconds that a visitor's place stays taken after an address that was too slow: its name may still be looked up.
LOOKED_UP = 20.0
HEADERS = {"Accept": "image/*", "User-Agent": about.agent()}
UPLOAD = "upload the picture instead"


class Fetcher:
    """Fetches pictures for one worker."""

    def __init__(self, settings: Settings) -> None:
        self.enabled = settings.fetch
        self.rules = guarded_http.Rules(
            MAX_BYTES,
            settings.fetch_seconds,
            HEADERS,
            ports=settings.fetch_ports,
            allow=settings.fetch_allow,
        )
        self.running = 0
        #: How many of the fetches each visitor has.
        self.places = Counter[str]()

    @contextlib.contextmanager
    def place(self, visitor: str) -> Iterator[None]:
        """A visitor's place, for one fetch. Raises Problem."""
        if self.places[visitor] >= PER_VISITOR:
            raise busy("addresses")
        self.places[visitor] += 1
        free_in = 0.0
        try:
            yield
        except Problem as problem:
            free_in = LOOKED_UP if problem.code == "address-slow" else 0
            raise
        finally:
            asyncio.get_running_loop().call_later(free_in, self.leave, visitor)

    async def fetch(self, address: str, arrived: Callable[[int], None] = lambda size: None) -> bytes:
        """The bytes behind an address, at most MAX_BYTES of them, within the deadline. `arrived` is told how many have
        come, each time. Raises Problem, and what `arrived` raises."""
        if not self.enabled:
            raise Problem(403, "address-disabled", f"addresses are switched off here: {UPLOAD}")
        if self.running >= AT_ONCE:
            raise busy("addresses")
        self.running += 1
        try:
            return await guarded_http.fetch(address, replace(self.rules, arrived=arrived))
        except guarded_http.Unfetched as why:
            raise self.problem(why) from None
        finally:
            self.running -= 1

    def leave(self, visitor: str) -> None:
        self.places[visitor] -= 1
        self.places = +self.places

    def problem(self, why: guarded_http.Unfetched) -> Problem:
        match why.reason:
            case "address" | "inside":
                message = f"this address is not fetched: {why}; give the picture's public address"
                return Problem(400, "address-refused", message)
            case "slow":
                waited = f"the address did not answer in {self.rules.seconds:g} seconds"
                return Problem(504, "address-slow", f"{waited}: {UPLOAD}")
            case "too-large":
                message = f"the picture has more than {MAX_BYTES:,} bytes: shrink it first"
                return Problem(413, "picture-too-large", message)
            case "network":
                said = f"the address cannot be read: check it, or {UPLOAD}"
            case _:
                said = f"the address cannot be read ({why}): check it, or {UPLOAD}"
        return Problem(502, "address-unreachable", said)
