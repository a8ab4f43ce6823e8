"""Work in the background of a process."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from greenr_luigi import background


async def running_in() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_all_that_begin_at_once_have_the_same_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them makes it, and the others come meanwhile."""
    new, all_here = asyncio.new_event_loop, threading.Barrier(8)
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: (time.sleep(0.05), new())[1])
    background._loop.cache_clear()

    def begin(number: int) -> asyncio.AbstractEventLoop:
        all_here.wait(60)
        return background.in_background(running_in()).result(60)

    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(begin, range(8))}) == 1


def test_what_it_raises_is_raised_where_it_is_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        background.in_thread(lambda: 1 / 0).result(60)
