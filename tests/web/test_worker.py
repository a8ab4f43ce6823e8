"""What the gunicorn worker adds to uvicorn's."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from gunicorn import config, glogging  # type: ignore[import-untyped]

from greenr_luigi.web.worker import HEARTBEAT, Server, Worker


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_the_heart_beats_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    """gunicorn ends a worker that has been silent for a minute."""
    beats: list[int] = []
    server = Server(uvicorn.Config(app="none"), lambda: beats.append(1))

    async def ticks(numbers: range) -> None:
        for number in numbers:
            await server.on_tick(number)

    asyncio.run(ticks(range(HEARTBEAT)))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    asyncio.run(ticks(range(HEARTBEAT, 5 * HEARTBEAT)))
    assert len(beats) == 5


def test_a_worker_starts_where_no_temporary_file_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may fill /tmp and /dev/shm; gunicorn ended when it could not replace a worker."""

    def full(*_: object, **__: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkstemp", full)
    settings = config.Config()
    worker = Worker(1, os.getpid(), [], None, 1, settings, glogging.Logger(settings))
    before = worker.tmp.last_update()
    worker.notify()
    assert worker.tmp.last_update() != before
    worker.tmp.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_whoever_stands_still_makes_room_when_no_more_files_may_be_open(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The limit of 512 connections may be above that of files."""
    gone: list[str] = []

    def connection(name: str, moved: float, waits: bool = True) -> Any:
        return SimpleNamespace(
            visitor="a",
            moved=moved,
            waits_for_client=lambda: waits,
            give_way=lambda: gone.append(name),
        )

    def full(_: socket.socket) -> None:
        raise OSError(number, os.strerror(number))

    async def accept() -> None:
        server = Server(uvicorn.Config(app="none"), lambda: None)
        held = [connection("new", 3), connection("old", 1), connection("answered", 0, waits=False)]
        monkeypatch.setattr(server, "connections", lambda: held)
        monkeypatch.setattr(server, "take_connection", full)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server.accept(listening)

    asyncio.run(accept())
    assert gone == ["old"]
