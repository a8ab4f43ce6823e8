"""Whatever an engine answers, a picture that cannot be had is refused with a reason, and nothing is raised."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.pictures.manifest import Refusal, read_jsonl, write_jsonl
from greenr_luigi.sources import (
    baidu,
    bing,
    commons,
    download,
    flickr,
    google,
    inaturalist,
    openverse,
    paging,
)
from greenr_luigi.sources.loading import loaded
from greenr_luigi.sources.results import MOST, Answer, Result
from greenr_luigi.sources.source import Candidate, Interrupted, Unavailable

URL = "http://127.0.0.1/1.jpg"


def of_bing(items: Any) -> bytes:
    tiles = (f'<div class="imgpt"><a m="{html.escape(json.dumps(item))}"></a></div>' for item in items)
    return f"<html>{''.join(tiles)}</html>".encode("utf-8", "replace")


def of_google(items: Any) -> bytes:
    return f"<html><script>{json.dumps(items)}</script></html>".encode()


def of_commons(items: Any) -> bytes:
    return json.dumps({"query": {"pages": {str(n): item for n, item in enumerate(items)}}}).encode()


#: By name: how it is read, a page of items, and an item.
ENGINES: dict[str, tuple[paging.Reader, Callable[[Any], bytes], dict[str, Any]]] = {
    "bing": (bing.results, of_bing, {"murl": URL, "purl": URL}),
    "google": (google.results, of_google, {"a": [URL]}),
    "baidu": (baidu.results, lambda items: json.dumps({"data": items}).encode(), {"hoverURL": URL, "fromURL": URL}),
    "openverse": (
        openverse.results,
        lambda items: json.dumps({"results": items}).encode(),
        {"url": URL, "foreign_landing_url": URL, "license": "by", "license_version": "2.0"},
    ),
    "inaturalist": (
        inaturalist.results,
        lambda items: json.dumps({"results": items}).encode(),
        {"id": 1, "uri": URL, "user": {"login": "me"}, "photos": [{"license_code": "cc-by", "url": URL}]},
    ),
    "flickr": (
        flickr.results,
        lambda items: json.dumps({"stat": "ok", "photos": {"photo": items}}).encode(),
        {"url_l": URL, "url_c": URL, "owner": "me", "id": "1", "license": "4"},
    ),
    "commons": (
        commons.results,
        of_commons,
        {"index": 1, "imageinfo": [{"url": URL, "extmetadata": {"LicenseShortName": {"value": "CC0"}}}]},
    ),
}  # fmt: skip
ANY_TEXT = st.text(st.characters(codec=None), max_size=8)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, item: Any) -> Any:
    """Something in an item is replaced by anything."""
    if draw(st.booleans()) or not item or isinstance(item, str | int):
        return draw(ANY)
    copy = dict(item) if isinstance(item, dict) else dict(enumerate(item))
    key = draw(st.sampled_from(sorted(copy)))
    copy[key] = draw(damaged(copy[key]))
    return copy if isinstance(item, dict) else [*copy.values()]


def listed(name: str, page: bytes) -> list[Candidate]:
    """What is listed of one page, by an engine whose next page says nothing new."""

    class Session(download.Session):
        def get(self, url: str, most_bytes: int = 0, **headers: str) -> Answer:
            return Answer(page) if "one.example" in url else super().get(url, most_bytes)

    try:
        return [*paging.candidates(name, Session(), ["https://one.example/"] * 3, ENGINES[name][0])]
    except Interrupted as fault:
        assert len(str(fault)) < 1000
        return []


@pytest.mark.parametrize("name", ENGINES)
def test_any_answer(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    _, page, item = ENGINES[name]
    file = tmp_path_factory.mktemp("any") / "rejected.jsonl"
    assert [one.file_url for one in listed(name, page([item]))] == [URL]

    @settings(max_examples=40)
    @given(
        st.lists(damaged(item), max_size=3).map(page)
        | ANY.map(lambda any: json.dumps(any).encode())
        | st.binary()
    )
    def check(content: bytes) -> None:
        candidates = listed(name, content)
        write_jsonl(file, [refusal(one) for one in candidates])
        assert len(read_jsonl(file, Refusal)) == len(candidates)
        for one in candidates:
            # As the store writes it.
            msgspec.json.encode([one.file_url, one.page_url, one.license, one.author])
            assert one.page_url is None or one.page_url.startswith("http")

    check()


def refusal(candidate: Candidate) -> Refusal:
    """Why a candidate is not there: no server of this machine is asked."""
    with pytest.raises(Unavailable) as why:
        loaded(candidate.load)
    return Refusal(why.value.reason, str(why.value), candidate.file_url)


@pytest.mark.parametrize(
    "address", [[1, 2], 5, None, {}, True, "", "\ud800", "http://a/\n", "http://a/" + "a" * 3000]
)
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "google"])
def test_an_address_that_is_none_is_refused(name: str, address: object) -> None:
    _, page, item = ENGINES[name]
    text = page([item]).decode()
    escaped = json.dumps(address) if name != "bing" else html.escape(json.dumps(address))
    quoted = '"' if name != "bing" else "&quot;"
    for field in ("murl", "hoverURL", "url", "url_l", "url_c"):
        text = text.replace(
            f"{quoted}{field}{quoted}: {quoted}{URL}{quoted}", f"{quoted}{field}{quoted}: {escaped}"
        )
    found = listed(name, text.encode())
    # Where there are many that are none, such as Baidu's last item, an empty one is no candidate.
    assert [refusal(one).reason for one in found] in ([["address"]] if address else [["address"], []])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("google", b"<script>" + b"http" * 250_000 + b"</script>"),
        ("bing", b"<div class=imgpt><a m=1></div>" * 10_000),
        ("bing", b"<div class='" + b" a" * 500_000 + b"'>" + b"<a m=1></a>" * 20_000),
        ("bing", b"<div class=imgpt>" * 200 + b"<a m=1></a>" * 100_000),
        ("bing", b""),
    ],
    ids=["google", "bing", "long class", "nested", "empty"],
)
def test_no_page_takes_minutes_to_read(name: str, content: bytes) -> None:
    """icrawler's pattern took 17 s for 40 KB, and a search of the tree hours."""
    began = time.process_time()
    listed(name, content)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ENGINES)
def test_no_page_has_more_results_than_an_engine_shows(name: str) -> None:
    """A page has room for a million, and each may cost half a minute."""
    read, page, item = ENGINES[name]
    assert len(read(Answer(page([item] * 2 * MOST)))) == MOST


def test_all_pages_have_no_more_results_than_an_engine_shows() -> None:
    class Session(download.Session):
        def get(self, url: str, most_bytes: int = 0, **headers: str) -> Answer:
            return Answer(url.encode())

    def read(answer: Answer) -> list[Result]:
        return [{"file_url": f"{answer.content.decode()}/{number}"} for number in range(MOST - 1)]

    pages = (f"https://one.example/{number}" for number in range(9))
    assert len([*paging.candidates("bing", Session(), pages, read)]) == MOST
    assert next(pages) == "https://one.example/2"


@pytest.mark.parametrize(
    ("script", "addresses"),
    [
        ('["https://a.b/1.jpg",6,8],["https://a.b/2.png?w=1",1]', ["https://a.b/1.jpg", "https://a.b/2.png"]),
        ('"https://a.b/1.gif","https://a.b/2.bmp"', ["https://a.b/2.bmp"]),
        (r'"https:\/\/a.b\/\u0041.jpg\x3fw=1"', ["https://a.b/A.jpg"]),
        ('"https://encrypted-tbn0.gstatic.com/1.jpg"', []),
    ],
)
def test_addresses_in_a_script_of_google(script: str, addresses: list[str]) -> None:
    page = f"<script>var a;</script><p>http://a.b/no.jpg</p><script nonce=x>{script}</script><script>http://a.b/9.jpg</script>"
    expected = addresses or ["http://a.b/9.jpg"]
    assert [result["file_url"] for result in google.results(Answer(page.encode()))] == expected
