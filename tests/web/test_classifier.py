"""What a worker holds while nobody asks, and what it does about what fails."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi.serving import releases
from greenr_luigi.web import classifier
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
                answered, before = ours.last_done, len(given_back)
                monkeypatch.setattr(classifier, "IDLE", 0.2)
                async with asyncio.timeout(20):
                    while len(given_back) == before:
                        await asyncio.sleep(0.01)
                assert answered is not None and given_back[-1] - answered >= 0.2
            await asyncio.sleep(3 * classifier.WATCH)

    asyncio.run(ask())
    assert len(given_back) == 3, "once after loading and once for each time of quiet, not at every look"


def settled(ours: classifier.Classifier, true: Callable[[], bool]) -> None:
    """Look at `current` again and again until it is so."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        ours.swap()


def test_what_may_pass_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many open files say nothing of a release; damage in it does."""
    monkeypatch.setattr(classifier, "RETRY", 0.05)
    ours = classifier.Classifier(Settings(tmp_path / "releases"))
    first = tiny_release.deploy(tmp_path / "releases", 0)
    ours.swap()
    second, opened = tiny_release.deploy(tmp_path / "releases", 1), releases.file_sha256

    def failing(path: Path) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(releases, "file_sha256", failing)
    for _ in range(20):
        ours.swap()
        time.sleep(0.01)
    assert ours.model is not None and ours.model.digest == first
    assert ours.problem is not None and "Too many open files" in ours.problem.message
    assert caplog.text.count("refused") == 1
    monkeypatch.setattr(releases, "file_sha256", opened)
    settled(ours, lambda: ours.model is not None and ours.model.digest == second)
    assert ours.problem is None


def test_what_cannot_be_written_down_is_written_later(tmp_path: Path) -> None:
    tiny_release.deploy(tmp_path / "releases")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "workers").write_text("in the way")

    async def look() -> None:
        async with classifier.running(Settings(tmp_path / "releases", tmp_path / "server")) as ours:
            await asyncio.sleep(3 * classifier.WATCH)
            assert ours.write_error
            (tmp_path / "server" / "workers").unlink()
            async with asyncio.timeout(10):
                while not [*(tmp_path / "server").glob("workers/*.json")]:
                    await asyncio.sleep(0.01)
            assert ours.model is not None

    asyncio.run(look())


def test_a_picture_that_holds_a_worker_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_release.deploy(tmp_path / "releases")
    ended: list[int] = []
    end = threading.Event()
    monkeypatch.setattr(classifier.os, "_exit", lambda status: (ended.append(status), end.set()))

    async def hold(limit: float, work: Callable[[float], object], seconds: float) -> None:
        async with classifier.running(Settings(tmp_path / "releases", picture_seconds=limit)) as ours:
            await ours.submit(work, seconds)

    asyncio.run(hold(60, time.sleep, 3 * classifier.WATCH))
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
            monkeypatch.setattr(ours, "swap", lambda: 1 / 0)
            async with asyncio.timeout(10):
                while not sent:
                    await asyncio.sleep(0.01)

    asyncio.run(fail())
    assert "the watch over the release has failed" in caplog.text


def test_workers_that_serve_load_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores one at a time, so that the other answers; a first model waits for nobody."""
    monkeypatch.setattr(classifier.os, "sched_getaffinity", lambda _: {0, 1})
    (tmp_path / "server").mkdir()
    first = tiny_release.deploy(tmp_path / "releases", 0)
    load, all_load = classifier.load, threading.Barrier(3, timeout=30)

    def load_together(*given: object) -> object:
        all_load.wait()
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(classifier, "load", load_together)
    workers = [classifier.Classifier(Settings(tmp_path / "releases", tmp_path / "server")) for _ in range(3)]
    together(workers)
    assert [one.model.digest for one in workers if one.model] == [first] * 3

    loading, most = [0], [0]

    def load_slowly(*given: object) -> object:
        loading[0] += 1
        most[0] = max(most[0], loading[0])
        time.sleep(0.1)
        loading[0] -= 1
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(classifier, "load", load_slowly)
    second = tiny_release.deploy(tmp_path / "releases", 1)
    together(workers)
    assert most == [1] and [one.model.digest for one in workers if one.model] == [second] * 3


def together(workers: list[classifier.Classifier]) -> None:
    threads = [threading.Thread(target=one.swap) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
