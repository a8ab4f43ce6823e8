"""What is fetched and in memory at a time: never more than there is room for, and nothing is lost by waiting for it."""

from __future__ import annotations

import asyncio
import ipaddress
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from greenr_luigi import background, public_network
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.sources import download, memory
from greenr_luigi.sources.loading import Loader
from greenr_luigi.sources.memory import MEMORY, Memory
from greenr_luigi.sources.source import Unavailable
from tests.sources.conftest import Internet, picture
from tests.sources.test_loading import wait_for

SIZE = 1000


@contextmanager
def room(monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    """For so many bytes. All of it is free in the end."""
    monkeypatch.setattr(MEMORY, "_left", size - (MEMORY.left - MEMORY._left))
    yield
    wait_for(lambda: MEMORY.left == size)


def test_what_has_no_room_waits_and_is_not_slow(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    internet.hosts["pictures.example"] = lambda path, query: b"%d" % int(path[1:-4]) * SIZE
    session = download.Session(seconds=1)
    with room(monkeypatch, 3 * SIZE):
        coming = [download.begin(session, f"https://pictures.example/{number}.jpg") for number in range(9)]
        # All have been asked for, and would be given up by now.
        wait_for(lambda: len(internet.asked) == 9 and MEMORY.left == 0)
        threading.Event().wait(1.2)
        assert [one.done() for one in coming].count(True) == 3
        found = []
        while coming:
            wait_for(lambda: any(one.done() for one in coming))
            assert MEMORY.left >= 0 and sum(one.done() for one in coming) <= 3
            for one in [one for one in coming if one.done()]:
                found.append(one.result()[:1])
                coming.remove(one)
            del one
        assert sorted(found) == [b"%d" % number for number in range(9)]


def test_a_large_one_is_not_passed_by_small_ones_for_ever() -> None:
    async def fetching() -> list[int]:
        space, took = Memory(10), list[int]()
        await space.take(8)

        async def take(size: int) -> None:
            await space.take(size)
            took.append(size)

        others = [asyncio.ensure_future(take(size)) for size in (9, 1, 2)]
        await asyncio.sleep(3 * memory.POLL)
        assert took == [] and space.left == 2
        space.give(8)
        await asyncio.wait(others[:2])
        assert not others[2].done()
        # Who no longer waits holds up nobody.
        others.append(asyncio.ensure_future(take(0)))
        others[2].cancel()
        await others[3]
        return took

    assert asyncio.run(fetching()) == [9, 1, 0]


@pytest.mark.parametrize("end", [b"torn", b""])
def test_of_unknown_length_as_much_is_kept_free_as_one_may_have(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await go.wait()
        writer.write(end or b"4\r\nmore\r\n0\r\n\r\n")
        writer.close()

    async def serve() -> asyncio.Server:
        return await asyncio.start_server(answer, "127.0.0.1", 0)

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = background.in_background(serve()).result()
    session = download.Session(allow=(ipaddress.ip_network("127.0.0.0/8"),), retries=0)
    with room(monkeypatch, MAX_BYTES + 5):
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        coming = download.begin(session, address)
        wait_for(lambda: MEMORY.left == 5)
        server.get_loop().call_soon_threadsafe(go.set)
        if end:
            with pytest.raises(Unavailable):
                coming.result()
        else:
            assert coming.result() == b"halfmore" and MEMORY.left == MAX_BYTES + 5 - 8
        del coming
    server.get_loop().call_soon_threadsafe(server.close)


def test_what_is_loaded_in_a_thread_has_its_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    checked, go = list[int](), threading.Event()

    def check(given: object) -> None:
        go.wait(30)
        checked.append(MEMORY.left)

    loads = list[int]()
    with room(monkeypatch, 3 * SIZE), Loader() as loader:
        began = [loader.begin(lambda: (loads.append(1), bytes(SIZE))[1], check) for _ in range(20)]
        wait_for(lambda: len(loads) == 20 and MEMORY.left == 0)
        go.set()
        for one in began:
            one.result()
    assert len(checked) == 20 and min(checked) >= 0


def test_what_nobody_waits_for_any_more_is_given_up(internet: Internet) -> None:
    hold, asked = threading.Event(), threading.Event()
    internet.hosts["pictures.example"] = lambda path, query: (asked.set(), hold.wait(60), picture(1))[2]
    session = download.Session()
    coming = list[Future[bytes]]()
    try:
        with Loader() as loader:

            def load() -> Future[bytes]:
                coming.append(download.begin(session, "https://pictures.example/1.jpg"))
                return coming[0]

            loader.begin(load, lambda given: given())
            assert asked.wait(60)
        assert coming[0].cancelled()
    finally:
        hold.set()


def test_who_gives_waits_for_nobody() -> None:
    """An object may end in the middle of whatever its thread does, also of counting."""
    space = Memory(1)
    giving = threading.Thread(target=space.give, args=(2,), daemon=True)
    with space._lock:
        giving.start()
        giving.join(10)
        assert not giving.is_alive()
    assert space.left == 3


async def taken_and_looked_up() -> None:
    async with asyncio.timeout(5):
        await MEMORY.take(memory.MOST)
        await public_network.SystemResolver().resolve("localhost")


def test_a_process_that_is_forked_waits_for_nothing_of_the_other() -> None:
    """As luigi's with `--workers 2`: what goes on is in threads, and these stay behind."""
    free = public_network.SystemResolver._free
    background.in_background(MEMORY.take(memory.MOST)).result()
    waiting = background.in_background(MEMORY.take(1))
    wait_for(lambda: bool(MEMORY._queue))
    for _ in range(public_network.LOOK_UPS):
        assert free.acquire(blocking=False)
    try:
        forked = multiprocessing.get_context("fork").Process(
            target=lambda: background.in_background(taken_and_looked_up()).result()
        )
        forked.start()
        forked.join()
    finally:
        waiting.cancel()
        MEMORY.give(memory.MOST)
        free.release(public_network.LOOK_UPS)
    assert forked.exitcode == 0
