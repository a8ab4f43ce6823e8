"""What a worker holds while nobody asks, and what it does about what fails."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi.web import classifier, follower
from greenr_luigi.web.settings import Settings
from tests import tiny_release


def test_what_pictures_took_is_given_back_once_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_release.deploy(tmp_path / "releases")
    given_back: list[float] = []
    monkeypatch.setattr(classifier, "trim_memory", lambda: given_back.append(time.monotonic()))

    async def ask() -> None:
        async with classifier.running(Settings(tmp_path / "releases")) as ours:
            for _ in range(2):
                # However long the machine is busy between the two.
                monkeypatch.setattr(classifier, "IDLE", math.inf)
                await ours.classify([tiny_release.picture()])
                await ours.classify([tiny_release.picture()])
                answered, before = ours.turns.last_done, len(given_back)
                monkeypatch.setattr(classifier, "IDLE", 0.2)
                async with asyncio.timeout(20):
                    while len(given_back) == before:
                        await asyncio.sleep(0.01)
                assert answered is not None and given_back[-1] - answered >= 0.2
            await asyncio.sleep(3 * follower.WATCH)

    asyncio.run(ask())
    assert len(given_back) == 3, "once after loading and once for each time of quiet, not at every look"


def test_a_picture_that_holds_a_worker_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_release.deploy(tmp_path / "releases")
    ended: list[int] = []
    end = threading.Event()
    monkeypatch.setattr(classifier.os, "_exit", lambda status: (ended.append(status), end.set()))

    async def hold(limit: float, work: Callable[[float], object], seconds: float) -> None:
        async with classifier.running(Settings(tmp_path / "releases", picture_seconds=limit)) as ours:
            await ours.submit("", work, seconds)

    asyncio.run(hold(60, time.sleep, 3 * follower.WATCH))
    assert not ended
    asyncio.run(hold(0.3, end.wait, 20))
    assert set(ended) == {1} and "this worker ends" in caplog.text


def test_a_watch_that_fails_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_release.deploy(tmp_path / "releases")
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(classifier.os, "kill", lambda *what: sent.append(what))

    async def fail() -> None:
        async with classifier.running(Settings(tmp_path / "releases")) as ours:
            monkeypatch.setattr(ours.follower, "swap", lambda: 1 / 0)
            async with asyncio.timeout(10):
                while not sent:
                    await asyncio.sleep(0.01)

    asyncio.run(fail())
    assert "the watch over the release has failed" in caplog.text
