"""Models swapped under load: no request lost, no answer of two models; broken releases refused; workers killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import onnx
import pytest
import requests

from greenr_luigi.serving import publishing, readiness, rollout, server
from tests import tiny_release
from tests.web.conftest import Live

pytestmark = pytest.mark.slow

#: bench/serving.py swaps 200 times.
SWAPS = int(os.environ.get("GREENR_TEST_SWAPS", "30"))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("own")
    yield Live(tiny_release.serve(root, tiny_release.deploy(root / "releases"), workers=2), root)
    server.stop(root / "server")


@pytest.fixture
def own(started: Live) -> Iterator[Live]:
    """A server whose store a test may do anything to, with both workers on its first release."""
    rollout.point(started.root / "releases", started.server.digest)
    found = Live(readiness.wait_for_release(started.root / "server", started.server.digest, 60), started.root)
    yield found
    found.session.close()


class Visitors:
    """A few at a time that ask on and on; each answer with the release that gave it."""

    def __init__(self, url: str, count: int = 4) -> None:
        self.url, self.stop = url, threading.Event()
        self.answers: list[tuple[int, str, str]] = []
        self.lost: list[str] = []
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]

    def ask(self) -> None:
        data = tiny_release.picture("yellow", 64)
        with requests.Session() as session:
            session.trust_env = False
            while not self.stop.is_set():
                try:
                    response = session.post(self.url + "/api/predict", files={"file": data}, timeout=30)
                except requests.RequestException as error:
                    self.lost.append(repr(error))
                    continue
                body = response.json()
                self.answers.append((response.status_code, body.get("release", ""), body.get("label", "")))

    def __enter__(self) -> Visitors:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def test_swaps_under_load_lose_nothing_and_mix_nothing(own: Live) -> None:
    store = own.root / "releases"
    digests = [tiny_release.publish(store, variant) for variant in range(3)]
    labels = dict(zip(digests, [tiny_release.CLASSES[n % 3] for n in range(3)], strict=True))
    with Visitors(own.url) as visitors:
        for n in range(1, SWAPS + 1):
            rollout.point(store, digests[n % 3])
            readiness.wait_for_release(own.root / "server", digests[n % 3], 60)
    assert visitors.lost == [] and {status for status, _, _ in visitors.answers} == {200}
    assert {(digest, label) for _, digest, label in visitors.answers} == set(labels.items())
    assert (
        readiness.wait_for_release(own.root / "server", digests[SWAPS % 3], 60).workers == own.server.workers
    )


def test_a_rollback_is_quick(own: Live) -> None:
    store = own.root / "releases"
    second = tiny_release.deploy(store, 1)
    readiness.wait_for_release(own.root / "server", second, 60)
    began = time.monotonic()
    first = rollout.rollback(store)
    readiness.wait_for_release(own.root / "server", first, 60)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "damage", ["missing", "bytes", "link", "json", "deep json", "another input", "infinite"]
)
def test_broken_releases_are_refused_while_the_old_one_serves(own: Live, damage: str) -> None:
    store, said_before = own.root / "releases", len(own.log())
    bad = damaged(own, damage) or tiny_release.publish(store, 1)
    if damage == "missing":
        (store / bad / "model.onnx").unlink()
    elif damage == "bytes":
        with (store / bad / "model.onnx").open("r+b") as file:
            file.seek(40)
            file.write(b"?")
    elif damage == "json":
        (store / bad / "release.json").write_text("{}")
    link = store / ".broken"
    link.symlink_to("0" * 16 if damage == "link" else bad)
    link.replace(store / "current")
    deadline = time.monotonic() + 60
    while not all(state["problem"] for state in own.get("/readyz").json()["workers"]):
        assert time.monotonic() < deadline
    ready = own.get("/readyz")
    assert ready.status_code == 200 and ready.json()["release"] == own.server.digest
    assert ready.json()["problem"]["message"] and "refused" in own.log()[said_before:]
    assert (
        own.post("/api/predict", files={"file": tiny_release.picture()}).json()["release"]
        == own.server.digest
    )
    rollout.point(store, own.server.digest)
    mended = tiny_release.publish(store, 1)
    rollout.point(store, mended)
    assert readiness.wait_for_release(own.root / "server", mended, 60).digest == mended


def damaged(own: Live, damage: str) -> str | None:
    """A release that is what its digest says, and yet cannot be used; None for any other damage."""
    exported = tiny_release.export(own.root / "damaged", 1)
    card, model = exported / "model.json", exported / "model.onnx"
    if damage == "deep json":
        card.write_text("[" * 100_000)
    elif damage == "another input":
        graph = onnx.load(model)
        graph.graph.input[0].name = graph.graph.node[0].input[0] = "image"
        onnx.save(graph, model)
    elif damage == "infinite":
        card.write_text(
            card.read_text().replace(f'"image_size": {tiny_release.SIZE}', '"image_size": Infinity')
        )
    else:
        return None
    return publishing.publish(own.root / "releases", exported.iterdir())


def test_a_model_that_fails_its_self_test_is_refused(own: Live) -> None:
    exported = tiny_release.export(own.root / "bad", 1)
    nonsense = tiny_release.WEIGHTS.copy()
    nonsense[0, 0] = float("nan")
    (exported / "model.onnx").write_bytes(tiny_release.model(nonsense))
    bad = publishing.publish(own.root / "releases", exported.iterdir())
    rollout.point(own.root / "releases", bad)
    with pytest.raises(server.ServerError, match="self-test failed"):
        readiness.wait_for_release(own.root / "server", bad, 20)
    assert own.get("/readyz").json()["release"] == own.server.digest


def test_a_killed_worker_costs_at_most_what_it_held(own: Live) -> None:
    with Visitors(own.url) as visitors:
        while len(visitors.answers) < 50:
            visitors.stop.wait(0.01)
        os.kill(own.server.workers[0], signal.SIGKILL)
        before = len(visitors.answers)
        while len(visitors.answers) < before + 200:
            visitors.stop.wait(0.01)
    assert len(visitors.lost) <= len(visitors.threads)
    assert {status for status, _, _ in visitors.answers} == {200}
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(server.ServerError):
            again = readiness.wait_for_release(own.root / "server", own.server.digest, 60)
            if own.server.workers[0] not in again.workers:
                break
        assert time.monotonic() < deadline
    assert len(again.workers) == 2
