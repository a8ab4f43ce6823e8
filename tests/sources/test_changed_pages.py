"""Engines whose pages have changed: at once or on the way, that is told, and is no success."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi.sources import download
from greenr_luigi.sources.source import SourceError
from tests.sources.collecting import collect_from
from tests.sources.conftest import Answer, Internet, Query
from tests.sources.test_commons import commons_page, openverse_pages
from tests.sources.test_inaturalist import DANDELION, observation
from tests.sources.test_inaturalist import page as inaturalist_page
from tests.sources.test_search_engines import ENGINES as OF_ICRAWLER

#: By name: its host, which page of results is asked for, from 0, and page 0, of twelve pictures.
ENGINES: dict[str, tuple[str, Callable[[Query], int], bytes]] = {
    **{name: (host, number, page(range(12))) for name, (host, page, number, _) in OF_ICRAWLER.items()},
    "openverse": ("api.openverse.org", lambda query: int(query["page"]) - 1, openverse_pages([[*range(12)]])[1]),
    "commons": ("commons.wikimedia.org", lambda query: int(query["gsroffset"]) // 50, commons_page([*range(12)])),
    "inaturalist": (
        "api.inaturalist.org",
        lambda query: min(int(query["id_above"]), 1),
        inaturalist_page([observation(number) for number in range(1, 13)]),
    ),
}  # fmt: skip
OF_HTML = ("bing", "google")
OF_JSON = [name for name in ENGINES if name not in OF_HTML]

CONSENT = b"<!doctype html><html><head><title>Before you continue to&nbsp;Search</title></head><form></form>"
CAPTCHA = b"<html><TITLE lang=en>\n Are you a robot? </TITLE><script src=challenge.js></script>"
LOGIN: Answer = (302, b"", [("Location", "https://login.example/?next=search")])
SIGN_IN = b"<html><head><title>Sign in</title></head><input type=password>"


@pytest.fixture
def play(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An engine whose pages answer so from a number on."""
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    monkeypatch.setattr(download, "RETRIES", 0)
    for host in ("upload.wikimedia.org", "static.inaturalist.org"):
        internet.hosts[host] = lambda path, query: internet.hosts["pictures.example"](
            f"/{re.findall('[0-9]+', path)[0]}.jpg", query
        )
    internet.hosts["login.example"] = lambda path, query: SIGN_IN

    def host(name: str, answer: Answer, first: int) -> None:
        domain, number, page = ENGINES[name]

        def api(path: str, query: Query) -> Answer:
            if path == "/v1/taxa":
                return inaturalist_page([DANDELION])
            return answer if number(query) >= first else page

        internet.hosts[domain] = api

    return host


FORMAT, NONE = "in another format than expected", "none of 3 results is a picture"
CHANGED = [
    *((name, CONSENT, "another page than its results: it is titled 'Before you continue") for name in OF_HTML),
    *((name, CAPTCHA, "it is titled 'Are you a robot?'") for name in OF_HTML),
    *((name, LOGIN, "it is titled 'Sign in'") for name in OF_HTML),
    *((name, page, "it begins 'try") for name in ENGINES for page in (b"\n try again later", b"\xef\xbb\xbftry again")),
    *((name, b'{"detail":\n"Quota exceeded"}', "Quota exceeded") for name in (*OF_HTML, "openverse", "inaturalist")),
    *((name, page, FORMAT) for name in OF_JSON for page in (CONSENT, LOGIN, ENGINES[name][2][:-30])),
    *((name, page, FORMAT) for name in OF_JSON if name != "baidu" for page in (b"{}", b"null")),
    ("baidu", b'{"data": {}}', FORMAT),
    ("baidu", b'{"data": null}', FORMAT),
    ("baidu", b'{"data": [{"thumb": 1}, {"thumb": 2}, {"thumb": 3}]}', NONE),
    ("baidu", b'{"antiFlag": 1, "message": "Forbid spider access"}', "Forbid spider access"),
    ("openverse", b'{"results": {}}', FORMAT),
    ("commons", b'{"query": {"pages": []}}', FORMAT),
    ("commons", b'{"query": {}}', FORMAT),
    ("commons", b'{"error": {"code": "ratelimited", "info": "You have exceeded your limit."}}', "exceeded your limit"),
    ("commons", b'{"error": "Out of order"}', "Out of order"),
    ("flickr", b'{"stat": "ok", "photos": {"photo": [{"id": "1"}, {"id": "2"}, {"id": "3"}]}}', NONE),
    ("flickr", b'{"stat": "fail", "message": "Invalid API Key"}', "Invalid API Key"),
    ("inaturalist", b'{"results": {}}', FORMAT),
    *((name, (status, b"no"), f"it answered {status}") for name in ENGINES for status in (403, 429)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "words"), CHANGED)
def test_a_changed_page_is_told(
    name: str, answer: Answer, words: str, play: Callable[..., None], tmp_path: Path
) -> None:
    play(name, answer, 0)
    with pytest.raises(SourceError, match=f"brought no pictures of 'dandelion'.*{re.escape(words)}"):
        collect_from(name, "dandelion", tmp_path / "out", 30)


#: One function tells of every change: of each engine, a page that cannot be read, and one that cannot be had.
LATER: list[tuple[Answer, str]] = [(b"try again later", "it begins 'try"), ((429, b"no"), "it answered 429")]


@pytest.mark.parametrize(("answer", "words"), LATER)
@pytest.mark.parametrize("name", ENGINES)
def test_a_page_that_changes_on_the_way_is_told_and_what_came_stays(
    name: str, answer: Answer, words: str, play: Callable[..., None], tmp_path: Path
) -> None:
    play(name, answer, 1)
    counts = collect_from(name, "dandelion", tmp_path / "out", 30)
    assert counts["pictures"] == 12 and counts["retry"] == [name]
    assert f"{name} ended early: " in str(counts["warning"]) and words in str(counts["warning"])


EMPTY: dict[str, bytes] = {
    **{name: page([]) for name, (_, page, _, _) in OF_ICRAWLER.items()},
    "openverse": b'{"result_count": 0, "page_count": 0, "results": []}',
    "commons": b'{"batchcomplete": ""}',
    "inaturalist": inaturalist_page([]),
}


@pytest.mark.parametrize("name", ENGINES)
def test_a_search_that_finds_nothing_is_no_success_and_one_that_ends_no_failure(
    name: str, play: Callable[..., None], tmp_path: Path
) -> None:
    play(name, EMPTY[name], 0)
    with pytest.raises(
        SourceError, match=f"'{name}' brought no pictures.*{name} brought nothing: it lists no picture"
    ):
        collect_from(name, "dandelion", tmp_path / "none", 30)
    play(name, EMPTY[name], 1)
    counts = collect_from(name, "dandelion", tmp_path / "some", 30)
    assert counts["pictures"] == 12 and "warning" not in counts


@pytest.mark.parametrize("name", OF_HTML)
def test_a_page_of_results_is_titled_by_what_was_asked(
    name: str, play: Callable[..., None], tmp_path: Path
) -> None:
    play(name, b"<html><head><title>dandelion - Search</title></head>Nothing more.", 1)
    assert "warning" not in collect_from(name, "dandelion", tmp_path / "some", 30)
