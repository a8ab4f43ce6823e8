"""The path prefix, and deadlines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenr_luigi.serving import server
from tests import tiny_release
from tests.web.conftest import Live


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server that believes its proxy's X-Forwarded-Prefix."""
    root = tmp_path_factory.mktemp("behind")
    digest = tiny_release.deploy(root / "releases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENR_FORWARDED_PREFIX", "1")
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
