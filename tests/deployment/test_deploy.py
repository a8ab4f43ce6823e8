"""Deployment without a server: what is refused, and why a deployment does not serve any more."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi import contracts
from greenr_luigi.deployment.deploy import (
    Candidate,
    Deployment,
    Refused,
    deploy,
    pass_gate,
    point_to_last_good,
    serve,
    why_not_serving,
)
from greenr_luigi.deployment.gate import Limits
from greenr_luigi.evaluation.comparison import Verdict
from greenr_luigi.export.model_card import read_card
from greenr_luigi.serving import history, publishing, releases, rollout, server
from greenr_luigi.serving.service import Service
from greenr_luigi.serving.sockets import ServerError
from tests import tiny_release, walk
from tests.progress import quiet
from tests.serving.looking import until
from tests.started import started

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "DeployApp"
    folder.mkdir()
    return folder


def candidate() -> Candidate:
    return Candidate(*walk.walk())


def test_a_refused_model_leaves_its_verdict_and_report_and_no_release(tmp_path: Path, out: Path) -> None:
    service = Service(tmp_path / "releases", tmp_path / "server")
    with pytest.raises(
        Refused, match=r"is not released, and none serves: .* the floor is 101.0.*--force DeployApp"
    ):
        deploy(candidate(), service, Limits(floor=1.01), out, quiet)
    verdict = contracts.read(tmp_path / "refused" / "verdict.json", Verdict)
    assert not verdict.accepted and verdict.floor == 1.01 and verdict.comparison is None
    assert "Not released" in (tmp_path / "refused" / "report.html").read_text()
    assert rollout.current(service.store) is None


def test_a_verdict_with_a_comparison_reads_as_it_was_written(tmp_path: Path, out: Path) -> None:
    store = tmp_path / "releases"
    rollout.point(store, publishing.publish(store, walk.walk().export.iterdir()))
    pass_gate(candidate(), store, rollout.last_good(store), Limits(), out)
    verdict = contracts.read(out / "verdict.json", Verdict)
    assert verdict.accepted and verdict.comparison is not None and verdict.comparison.worse == []
    assert set(json.loads((out / "verdict.json").read_text())) == {
        "accepted", "reason", "candidate", "floor", "comparison", "forced",
    }  # fmt: skip


def test_a_release_that_does_not_come_to_serve_gives_way_to_the_one_before(tmp_path: Path, out: Path) -> None:
    """No address of this machine is 192.0.2.1 (RFC 5737)."""
    service = Service(tmp_path / "releases", tmp_path / "server", "192.0.2.1")
    before = tiny_release.deploy(service.store, classes=["no", "class", "of the others"])
    with pytest.raises(ServerError, match=r"192\.0\.2\.1"):
        deploy(candidate(), service, Limits(force=True), out, quiet)
    assert rollout.current(service.store) == before and len(releases.releases(service.store)) == 2
    assert not (out / "deployment.json").exists()


def test_why_a_deployment_does_not_serve_any_more(tmp_path: Path, out: Path) -> None:
    service = Service(tmp_path / "releases", tmp_path / "server", port=1)
    first, second = (tiny_release.publish(service.store, variant) for variant in (0, 1))
    contracts.write(out / "deployment.json", Deployment(second, "http://127.0.0.1:1/"))

    def cause() -> str | None:
        return why_not_serving(service, out)

    assert cause() == f"the release store points to nothing, not to {second}"
    rollout.point(service.store, first)
    assert cause() == f"the release store points to {first}, not to {second}"
    rollout.point(service.store, second)
    assert cause() == "no server of ours answers on 127.0.0.1:1"
    model = service.store / second / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert f"release {second}: model.onnx is not the file that was published" in str(cause())
    rollout.rollback(service.store)
    assert cause() == "no server of ours answers on 127.0.0.1:1"
    (service.store / "current").unlink()
    (service.store / "current").symlink_to(second)  # As a rollback leaves it that is killed.
    assert cause() == f"the rollback from release {second} was cut short"
    assert point_to_last_good(service.store) == first == rollout.current(service.store)
    (service.store / first / "model.json").unlink()
    assert f"release {first}: model.json is missing" in str(cause())
    (service.store / first / "release.json").unlink()
    assert f"no release {first}" in str(cause())
    shutil.rmtree(service.store / first)
    assert f"no release {first}" in str(cause())


def test_a_release_that_was_rolled_back_is_wanted_again_once_another_has_come(
    tmp_path: Path, out: Path
) -> None:
    """Its DeployApp folder notes what served in its stead."""
    service = Service(tmp_path / "releases", tmp_path / "server", port=1)
    first, second, third = (tiny_release.publish(service.store, variant) for variant in (0, 1, 2))
    rollout.point(service.store, first)
    rollout.point(service.store, second)
    rollout.rollback(service.store)
    contracts.write(out / "deployment.json", Deployment(first, "http://127.0.0.1:1/", candidate=second))
    assert why_not_serving(service, out) == "no server of ours answers on 127.0.0.1:1"
    rollout.point(service.store, third)
    rollout.point(service.store, first)
    assert why_not_serving(service, out) == f"the release store points to {first}, not to {second}"


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_torn_release_blocks_no_deployment_and_is_published_anew(
    tmp_path: Path, out: Path, name: str
) -> None:
    service = Service(tmp_path / "releases", tmp_path / "server", workers=1)
    try:
        first = deploy(candidate(), service, Limits(), out, quiet)
        torn = service.store / first.release / name
        torn.write_bytes(torn.read_bytes()[:50])
        again = deploy(candidate(), service, Limits(), out, quiet)
    finally:
        server.stop(service.run_dir)
    assert again.release == first.release and releases.is_sound(service.store, again.release)


DEPLOYING = """
import sys
from pathlib import Path
from greenr_luigi.deployment.deploy import Candidate, deploy
from greenr_luigi.deployment.gate import Limits
from greenr_luigi.serving.service import Service
root, *folders = map(Path, sys.argv[1:])
(root / "other").mkdir()
service = Service(root / "releases", root / "server", workers=1)
deploy(Candidate(*folders), service, Limits(), root / "other", lambda *told: None)
"""


@contextlib.contextmanager
def another_deployment(root: Path, before: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is just trying another release."""
    export = shutil.copytree(candidate().export, root / "export")
    (export / "notes.txt").write_text("another release")
    folders = [candidate().dataset, candidate().model, candidate().evaluation, export]
    command = [sys.executable, "-c", DEPLOYING, str(root), *map(str, folders)]
    with started(command, env=os.environ | environment) as process:
        until(lambda: process.poll() is not None or rollout.current(root / "releases") != before)
        assert process.poll() is None
        yield process


def test_a_deployment_that_is_killed_is_mended_by_the_next_start(tmp_path: Path) -> None:
    """By kill -9, while the server of its release starts."""
    store = tmp_path / "releases"
    service = Service(store, tmp_path / "server", workers=1)
    before = publishing.publish(store, candidate().export.iterdir())
    rollout.point(store, before)
    with another_deployment(tmp_path, before) as killed:
        killed.kill()
    assert rollout.current(store) != before
    try:
        assert serve(service, print).digest == before == rollout.current(store)
    finally:
        server.stop(service.run_dir)


def test_of_two_deployments_at_once_the_one_that_fails_takes_nothing_back(tmp_path: Path, out: Path) -> None:
    """The failing one is at it first: its server does not start, for want of a number of threads."""
    store = tmp_path / "releases"
    service = Service(store, tmp_path / "server", workers=1)
    before = tiny_release.deploy(store, classes=read_card(candidate().export).classes)
    try:
        with another_deployment(tmp_path, before, GREENR_THREADS="0") as failing:
            done = deploy(candidate(), service, Limits(), out, quiet)
            said, _ = failing.communicate()
    finally:
        server.stop(service.run_dir)
    assert failing.returncode == 1 and "GREENR_THREADS='0'" in said
    assert rollout.current(store) == done.release != before
    assert history.way_back(store) == [done.release, before]


def test_the_last_good_release_is_served_again(tmp_path: Path, out: Path) -> None:
    service = Service(tmp_path / "releases", tmp_path / "server", workers=1)
    with pytest.raises(releases.ReleaseError, match="no sound release"):
        serve(service, print)
    first, second = (tiny_release.deploy(service.store, variant) for variant in (0, 1))
    (service.store / second / "model.json").write_text("{")
    try:
        serving = serve(service, print)
        assert serving.digest == first == rollout.current(service.store)
        assert serve(service, print) == serving, "the server that runs is left alone"
    finally:
        server.stop(service.run_dir)
