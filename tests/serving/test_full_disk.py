"""A disk that fills up while the server runs is no outage: it answers, counts, and takes feedback again once there is
room."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from greenr_luigi.serving import processes, server
from tests import tiny_release
from tests.serving.looking import get, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root"),
]


@pytest.fixture
def disk(small_disk: Path) -> Iterator[Path]:
    yield small_disk
    server.stop(small_disk / "server")


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", 0) as file:
        while file.write(bytes(4096)):
            pass
    return ballast


def post(port: int, path: str, **fields: str) -> requests.Response:
    picture = {"file": ("x.jpg", tiny_release.picture())}
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Origin": f"http://127.0.0.1:{port}"}
        return session.post(
            f"http://127.0.0.1:{port}{path}", files=picture, data=fields, headers=headers, timeout=10
        )


def counted(port: int) -> float:
    """The requests that /metrics tells of."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return sum(float(number) for number in re.findall(r"^greenr_requests_total\{.*\} (\S+)$", text, re.M))


@pytest.mark.parametrize("size", ["600k", "4m"])
def test_it_answers_and_takes_feedback_again(disk: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """On the smaller one there is no room for counters from the beginning."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
    monkeypatch.setenv("GREENR_FEEDBACK", "1")
    running = tiny_release.serve(disk, tiny_release.deploy(disk / "releases"), workers=1)
    assert post(running.port, "/feedback", label="grass").status_code == 200
    log, before = disk / "server" / "gunicorn.log", counted(running.port)
    assert ("does not count for /metrics until there is room" in log.read_text()) == (size == "600k")
    assert (before > 0) == (size == "4m")

    ballast = fill(disk)
    for _ in range(40):
        assert post(running.port, "/api/predict").json()["label"] == "dandelion"
    refused = post(running.port, "/feedback", label="dandelion")
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "feedback-full")
    os.kill(running.workers[0], signal.SIGKILL)
    until(lambda: get(running.port, "/healthz")[0] == 200)
    assert post(running.port, "/api/predict").status_code == 200
    assert [one.pid for one in processes.servers(disk / "server")] == [running.pid]
    if size == "4m":
        assert counted(running.port) >= before + 42
        assert len([*disk.glob("server/metrics-*/*")]) == 2

    ballast.unlink()
    assert post(running.port, "/feedback", label="dandelion").status_code == 200
    assert "SIGBUS" not in log.read_text()
