"""A server that others start and stop, as in another container: `python -m greenr_luigi.web` beside a pipeline that
only knows its address."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenr_luigi.deployment import deploy
from greenr_luigi.serving import elsewhere, processes, publishing, readiness, rollout, server
from greenr_luigi.serving.service import Service
from greenr_luigi.serving.sockets import ServerError, listen
from tests import tiny_release
from tests.serving.looking import get, greenr, served, until, visitor
from tests.stamped import finish

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    with listen("127.0.0.1", 0) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def other(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Its store has no release yet, and not even a folder."""
    command = [sys.executable, "-m", "greenr_luigi.web", f"--port={port}", "--workers=2"]
    environment = {"GREENR_STORE": str(tmp_path / "releases"), "GREENR_RUN_DIR": str(tmp_path / "run")}
    with subprocess.Popen(command, env={**os.environ, **environment}, cwd=tmp_path) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def service(tmp_path: Path, port: int) -> Service:
    return Service(
        tmp_path / "releases", tmp_path / "server", elsewhere=elsewhere.address(f"http://127.0.0.1:{port}/")
    )


def answers(port: int, path: str) -> int:
    try:
        return get(port, path)[0]
    except OSError:
        return 0


def test_it_is_there_before_the_first_release_follows_each_and_ends_when_it_is_told(
    other: subprocess.Popen[bytes], service: Service, port: int
) -> None:
    until(lambda: answers(port, "/healthz") == 200)
    assert answers(port, "/readyz") == 503
    first = tiny_release.deploy(service.store)
    assert server.ensure(service, first, 60) == readiness.Server(f"http://127.0.0.1:{port}/", first)
    assert server.not_as_wanted(service, first) is None
    with visitor(port) as statuses:
        second = tiny_release.deploy(service.store, 1)
        server.ensure(service, second, 60)
    assert {*statuses} == {200} and served(port) == second
    assert f"answers with {second}, not with {first}" in str(server.not_as_wanted(service, first))
    assert not service.run_dir.exists() and processes.servers(service.run_dir) == []
    other.terminate()
    assert other.wait(60) == 0
    assert "start it there" in str(server.not_as_wanted(service, second))


def test_a_folder_that_it_cannot_have_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {"GREENR_STORE": f"{tmp_path}/releases", "GREENR_RUN_DIR": f"{tmp_path}/file/run"}
    command = [sys.executable, "-m", "greenr_luigi.web", "--port=0"]
    said = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert said.returncode == 1 and said.stderr.startswith(f"greenr: {tmp_path}/file/run: ")
    assert said.stderr.count("\n") == 1


def test_a_release_that_it_refuses_is_said_in_its_words(
    other: subprocess.Popen[bytes], service: Service
) -> None:
    good = tiny_release.deploy(service.store)
    server.ensure(service, good, 60)
    export = tiny_release.export(service.store.parent / "broken", 2)
    (export / "model.onnx").write_bytes(b"no model")
    broken = publishing.publish(service.store, export.iterdir())
    with (
        pytest.raises(ServerError, match=r"refuses the release: .*model"),
        rollout.trial(service.store, broken, good),
    ):
        server.ensure(service, broken, 30)
    server.ensure(service, good, 60)


def test_what_greenr_says_and_does_of_it(
    other: subprocess.Popen[bytes], service: Service, tmp_path: Path, port: int
) -> None:
    (tmp_path / "luigi.cfg").write_text(f"[DeployApp]\nserved_at = {service.elsewhere}/\n")
    first, second = (tiny_release.deploy(service.store, variant) for variant in range(2))
    server.ensure(service, second, 60)
    assert f"{service.elsewhere} now serves release {first}" in greenr(tmp_path, "rollback", cwd=tmp_path)
    assert served(port) == first
    assert f'"release": "{first}"' in greenr(tmp_path, "server", cwd=tmp_path)
    assert "others' to start and stop" in greenr(tmp_path, "stop", cwd=tmp_path)
    assert first in greenr(tmp_path, "start", cwd=tmp_path)
    # Whatever ends a run, nothing is started here.
    (service.store / "current").unlink()
    deploy.serve_on(service, print)
    assert rollout.current(service.store) == first and not service.run_dir.exists()


def test_nginx_mounts_the_page_of_others_where_luigi_cfg_says_it_is_now(tmp_path: Path) -> None:
    """No deployment starts that server, so the last one need not know."""
    parameters = {"served_at": "http://app:8008", "root_path": "/earlier"}
    finish(tmp_path, "DeployApp", 1, parameters=parameters)
    (tmp_path / "luigi.cfg").write_text("[DeployApp]\nroot_path = /now\n")
    printed = greenr(tmp_path, "nginx", cwd=tmp_path)
    assert (
        "location /now/ {" in printed
        and "proxy_pass http://app:8008;" in printed
        and "earlier" not in printed
    )


def test_what_luigi_cfg_sets_for_a_server_that_others_start_is_said_to_be_theirs_to_set(
    tmp_path: Path,
) -> None:
    theirs = Service(tmp_path, tmp_path, settings={"GREENR_FETCH": "0"}, elsewhere="http://app:8008").untold()
    assert "http://app:8008" in theirs and "give that GREENR_FETCH in its own environment" in theirs
    assert not Service(tmp_path, tmp_path, settings={"GREENR_FETCH": "0"}).untold()
    assert not Service(tmp_path, tmp_path, elsewhere="http://app:8008").untold()
    (tmp_path / "luigi.cfg").write_text("[DeployApp]\nserved_at = http://127.0.0.1:1\n[server]\nfetch = 0\n")
    command = [sys.executable, "-m", "greenr_luigi.cli", "--root", tmp_path, "start"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.stderr.startswith("[server] of luigi.cfg is not told to http://127.0.0.1:1, "), told.stderr


@pytest.mark.parametrize(
    "text",
    ["app:8008", "http://", "ftp://app", "http://app/app", "http://app?x", "http://u@app", "http://app:x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        elsewhere.address(text)


@pytest.mark.parametrize("text", ["http://app:8008", "https://example.org", "http://[::1]:8008"])
def test_an_address_is_taken_with_and_without_its_slash(text: str) -> None:
    assert elsewhere.address(text) == elsewhere.address(f"{text}/") == text
