"""What a worker serves as `current` moves, and what it does about releases that fail."""

from __future__ import annotations

import asyncio
import math
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenr_luigi import shared_files
from greenr_luigi.serving import publishing, releases, rollout
from greenr_luigi.web import classifier, follower, trial
from greenr_luigi.web.follower import Follower
from greenr_luigi.web.settings import Settings
from tests import tiny_release


def settled(ours: Follower, true: Callable[[], bool]) -> None:
    """Look at `current` again and again until it is so."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        ours.swap()


def test_what_may_pass_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many open files say nothing of a release; damage in it does."""
    monkeypatch.setattr(follower, "RETRY", 0.05)
    ours = Follower(Settings(tmp_path / "releases"))
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
        async with classifier.running(Settings(tmp_path / "releases", tmp_path / "server")) as whole:
            ours = whole.follower
            await asyncio.sleep(3 * follower.WATCH)
            assert ours.write_error
            (tmp_path / "server" / "workers").unlink()
            async with asyncio.timeout(10):
                while not [*(tmp_path / "server").glob("workers/*.json")]:
                    await asyncio.sleep(0.01)
            assert ours.model is not None

    asyncio.run(look())


def test_workers_that_serve_load_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores one at a time, so that the other answers; a first model waits for nobody."""
    monkeypatch.setattr(follower.os, "sched_getaffinity", lambda _: {0, 1})
    (tmp_path / "server").mkdir()
    first = tiny_release.deploy(tmp_path / "releases", 0)
    load, all_load = follower.load, threading.Barrier(3, timeout=30)

    def load_together(*given: object) -> object:
        all_load.wait()
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(follower, "load", load_together)
    workers = [Follower(Settings(tmp_path / "releases", tmp_path / "server")) for _ in range(3)]
    together(workers)
    assert [one.model.digest for one in workers if one.model] == [first] * 3

    loading, most = [0], [0]

    def load_slowly(*given: object) -> object:
        loading[0] += 1
        most[0] = max(most[0], loading[0])
        time.sleep(0.1)
        loading[0] -= 1
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(follower, "load", load_slowly)
    second = tiny_release.deploy(tmp_path / "releases", 1)
    together(workers)
    assert most == [1] and [one.model.digest for one in workers if one.model] == [second] * 3


def together(workers: list[Follower]) -> None:
    threads = [threading.Thread(target=one.swap) for one in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def deploy_other(root: Path, kind: str, variant: int = 1) -> str:
    """A release with a model that no other one has."""
    exported = tiny_release.export(root / f"{kind}-{variant}", variant)
    chance = random.SystemRandom().random()
    weights = (tiny_release.WEIGHTS * (1 + chance / 1000)).astype("float32")
    (exported / "model.onnx").write_bytes(tiny_release.costly(kind, weights))
    digest = publishing.publish(root / "releases", exported.iterdir())
    rollout.point(root / "releases", digest)
    return digest


async def so(true: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def test_the_watch_goes_on_beside_a_model_that_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks after pictures, the old model answers, the deadline is kept, and a later release is followed."""
    first = tiny_release.deploy(tmp_path / "releases", 0)
    ended: list[int] = []
    monkeypatch.setattr(follower.os, "_exit", ended.append)

    async def look() -> None:
        async with classifier.running(Settings(tmp_path / "releases", picture_seconds=0.3)) as whole:
            ours = whole.follower
            patient, ours.settings = ours.settings, replace(ours.settings, load_seconds=1)
            endless = deploy_other(tmp_path, "endless")
            await so(lambda: ours.trial and ours.trial.poll() is None)
            stuck = whole.submit("", lambda: threading.Event().wait(0.6))
            await so(lambda: ended)
            assert ours.trial is not None and ours.trial.poll() is None
            await stuck
            await so(lambda: ours.problem)
            assert ours.problem and ours.problem.digest == endless
            assert "did not load within 1 seconds" in ours.problem.message
            assert ours.trial.poll() == -signal.SIGKILL
            assert ours.model is not None and ours.model.digest == first
            ours.settings = patient
            deploy_other(tmp_path, "endless", 2)
            await so(lambda: ours.trial and ours.trial.poll() is None)
            # The one that is tried is not waited for.
            later = tiny_release.deploy(tmp_path / "releases", 2)
            await so(lambda: ours.model and ours.model.digest == later and not ours.problem, 15)

    asyncio.run(look())


@pytest.mark.slow
def test_what_crashes_or_takes_all_memory_does_so_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny_release.deploy(tmp_path / "releases", 0)
    ours = Follower(Settings(tmp_path / "releases"))
    ours.swap()
    huge = deploy_other(tmp_path, "huge")
    ours.swap()
    assert ours.problem and ours.problem.digest == huge and "cannot be run" in ours.problem.message
    start = trial.start

    def crashing(*given: Any) -> object:
        started = start(*given)
        started.send_signal(signal.SIGSEGV)
        return started

    second = deploy_other(tmp_path, "cheap")
    with monkeypatch.context() as patch:
        patch.setattr(trial, "start", crashing)
        ours.swap()
    assert ours.problem.digest == second and "SIGSEGV" in ours.problem.message
    assert ours.model is not None and ours.model.digest == first
    assert ours.retry_at < math.inf
    ours.retry_at = 0
    ours.swap()
    assert ours.model.digest == second
    with monkeypatch.context() as patch:
        patch.delattr(trial, "start")  # One that has been loaded before is not tried.
        rollout.point(tmp_path / "releases", first)
        ours.swap()
    assert ours.model.digest == first


def test_a_model_that_never_loads_in_the_worker_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tiny_release.deploy(tmp_path / "releases", 0)
    load, released = follower.load, threading.Event()

    def held(store: Path, digest: str, int8: bool) -> object:
        if digest == second:
            released.wait(20)
        return load(store, digest, int8)

    async def look() -> None:
        nonlocal second
        async with classifier.running(Settings(tmp_path / "releases")) as whole:
            ours = whole.follower
            monkeypatch.setattr(follower, "load", held)
            patient, ours.settings = ours.settings, replace(ours.settings, load_seconds=20)
            stale = ours.loader
            second = tiny_release.deploy(tmp_path / "releases", 1)
            await so(lambda: ours.loading_since)
            ours.settings = replace(ours.settings, load_seconds=0.1)
            await so(lambda: ours.problem)
            assert ours.problem and "in a worker" in ours.problem.message
            assert ours.model is not None and ours.model.digest == first
            ours.settings = patient
            third = tiny_release.deploy(tmp_path / "releases", 2)
            await so(lambda: ours.model and ours.model.digest == third)
            released.set()
            await asyncio.get_running_loop().run_in_executor(stale, lambda: None)
            assert ours.model.digest == third and ours.problem is None

    second = ""
    asyncio.run(look())


@pytest.mark.slow
def test_a_new_worker_takes_what_has_served_before_a_release_that_does_not_load(tmp_path: Path) -> None:
    first = tiny_release.deploy(tmp_path / "releases", 0)
    huge = deploy_other(tmp_path, "huge")
    ours = Follower(Settings(tmp_path / "releases"))
    ours.swap()
    assert ours.model is not None and ours.model.digest == first
    assert ours.problem is not None and ours.problem.digest == huge


@pytest.mark.slow
def test_a_worker_begins_with_a_model_though_releases_are_replaced_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "releases"
    tiny_release.deploy(store, 0)
    try_out, later = Follower.try_out, [1, 2]

    def replaced(ours: Follower, digest: str) -> bool:
        if later:
            tiny_release.deploy(store, later.pop())
            return False
        return try_out(ours, digest)

    monkeypatch.setattr(Follower, "try_out", replaced)
    monkeypatch.setattr(follower, "LOADED", set())
    ours = Follower(Settings(store))
    asyncio.run(ours.begin())
    assert ours.model is not None and ours.model.digest == rollout.current(store) and not later


def test_a_trial_ends_with_its_worker(tmp_path: Path) -> None:
    digest = deploy_other(tmp_path, "endless")
    code = (
        "import os, sys; from pathlib import Path; from greenr_luigi.web import trial\n"
        "print(trial.start(Path(sys.argv[1]), sys.argv[2], True).pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "releases"), digest]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        handle = os.pidfd_open(int(worker.stdout.readline()))
        worker.kill()
    assert select.select([handle], [], [], 10)[0]
    os.close(handle)


def test_a_held_lock_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower.os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(follower, "LOADING", 0.1)
    (tmp_path / "server").mkdir()
    tiny_release.deploy(tmp_path / "releases", 0)
    ours = Follower(Settings(tmp_path / "releases", tmp_path / "server"))
    ours.swap()
    second = tiny_release.deploy(tmp_path / "releases", 1)
    with shared_files.locked(tmp_path / "server" / "loading-0.lock"):
        ours.swap()
    assert ours.model is not None and ours.model.digest == second and ours.problem is None
