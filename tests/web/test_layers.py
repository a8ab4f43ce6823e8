"""The path prefix, and deadlines."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from greenr_luigi.serving import server
from greenr_luigi.web import layers
from greenr_luigi.web.settings import Settings
from tests import tiny_release
from tests.web.conftest import Live


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that believes its proxy's X-Forwarded-Prefix."""
    root = tmp_path_factory.mktemp("behind")
    digest = tiny_release.deploy(root / "releases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENR_FORWARDED_PREFIX", "1")
        patch.setenv("GREENR_LOG_BYTES", "8000")
        patch.setenv("GREENR_LOG_FILES", "2")
        running = tiny_release.serve(root, digest, workers=1)
    found = Live(running, root)
    yield found
    found.session.close()
    server.stop(root / "server")


def test_a_forwarded_prefix_is_used_where_it_is_configured(behind: Live, live: Live) -> None:
    for path in ("/", "/deep/app/"):
        page = behind.get(path, headers={"X-Forwarded-Prefix": "/deep/app"}).text
        assert 'action="/deep/app/upload"' in page and '"/deep/app/static/app.css' in page
    assert 'route="/",status="200"' in behind.get("/metrics").text
    page = live.get("/", headers={"X-Forwarded-Prefix": "/deep/app"}).text
    assert 'action="/upload"' in page


@pytest.mark.parametrize("prefix", ['"><script>', "//evil.example", "evil", "/a b", "/..%2f"])
def test_a_hostile_prefix_is_not(behind: Live, prefix: str) -> None:
    page = behind.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert page.status_code == 200 and 'action="/upload"' in page.text


def test_while_others_wait_several_are_counted_and_logged_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "greenr.access")
    monkeypatch.setattr(layers, "UNTOLD_SECONDS", 0.01)
    counted = list[str]()
    monkeypatch.setattr(layers.metrics, "count_request", lambda *request: counted.append(request[1]))
    go_on = asyncio.Event()

    async def answer(scope: Scope, _: Receive, send: Send) -> None:
        if scope["path"] == "/waits":
            await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    ours = layers.RequestLog(answer, Settings(Path()), lambda request: Response())

    async def ask(path: str) -> None:
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"x-request-id", b"mine")]}

        async def deaf(_: Message) -> None:
            pass

        await ours(scope, empty, deaf)

    async def empty() -> Message:
        return {"type": "http.request"}

    async def run() -> None:
        waits = asyncio.create_task(ask("/waits"))
        await asyncio.sleep(0)
        began = time.time()
        await ask("/first")
        assert counted == [] and caplog.messages == []
        while not caplog.messages:  # After a while they are, whatever waits.
            await asyncio.sleep(0.005)
        assert re.fullmatch(r"mine - GET '/first' 200 [\d.]+ ms", caplog.messages[0])
        assert began <= caplog.records[0].created <= time.time() and len(counted) == 1
        for _ in range(layers.UNTOLD):
            await ask("/many")
        assert len(caplog.messages) == 1 + layers.UNTOLD, "no more are held than so many"
        await ask("/last")
        go_on.set()
        await waits
        assert [message.split()[3] for message in caplog.messages[-2:]] == ["'/last'", "'/waits'"]

    asyncio.run(run())


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_answered(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("hasty")
    monkeypatch.setenv("GREENR_ANSWER_SECONDS", "0.05")
    digest = tiny_release.deploy(root / "releases")
    running = tiny_release.serve(root, digest, workers=1)
    found = Live(running, root)
    try:
        response = found.post("/api/predict", files={"file": tiny_release.picture("yellow", 7000, "PNG")})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "too-slow")
        assert (
            response.headers["retry-after"] == "5"
            and "default-src" in response.headers["content-security-policy"]
        )
    finally:
        found.session.close()
        server.stop(root / "server")


def test_no_visitor_fills_the_disk_with_the_log(behind: Live) -> None:
    for number in range(100):
        behind.get("/" + "%F0%9F%98%80%0A%1B" * 200 + str(number))
    files = [*(behind.root / "server").glob("gunicorn.log*")]
    assert sorted(file.name for file in files) == ["gunicorn.log", "gunicorn.log.1"]
    assert max(file.stat().st_size for file in files) < 8500
    lines = [line for file in files for line in file.read_text().splitlines()]
    asked = [line for line in lines if "GET" in line]
    assert len(asked) > 30 and max(map(len, asked)) < 400
    assert all(line.startswith("[20") for line in asked)
