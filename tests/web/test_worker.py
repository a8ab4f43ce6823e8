"""What the gunicorn worker adds to uvicorn's."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvicorn

from greenr_luigi.web.worker import HEARTBEAT, Server


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
