"""What a worker holds while nobody asks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from greenr_luigi.web import classifier
from greenr_luigi.web.settings import Settings
from tests import tiny_release


def test_what_pictures_took_is_given_back_once_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_release.deploy(tmp_path / "releases")
    given_back: list[float] = []
    monkeypatch.setattr(classifier, "IDLE", 0.2)
    monkeypatch.setattr(classifier, "trim", lambda: given_back.append(time.monotonic()))

    async def ask() -> None:
        async with classifier.running(Settings(tmp_path / "releases")) as ours:
            for _ in range(2):
                await ours.classify([tiny_release.picture()])
                await ours.classify([tiny_release.picture()])
                answered, before = time.monotonic(), len(given_back)
                async with asyncio.timeout(20):
                    while len(given_back) == before:
                        await asyncio.sleep(0.01)
                assert given_back[-1] - answered >= 0.15
            await asyncio.sleep(3 * classifier.LOOK)

    asyncio.run(ask())
    assert len(given_back) == 3, "once after loading and once for each time of quiet, not at every look"
