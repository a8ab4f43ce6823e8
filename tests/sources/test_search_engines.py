"""The search engines, each played on loopback in its own format, with results that are missing, broken and
doubled."""

from __future__ import annotations

import html
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import luigi
import pytest

from greenr_luigi.pictures import door, examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Request, SourceError
from greenr_luigi.staleness.stage import Stage
from tasks import DownloadImages
from tests.progress import quiet
from tests.sources.collecting import collect_from
from tests.sources.conftest import Answer, Internet, Query

pytestmark = pytest.mark.slow

Pages = Sequence[Sequence[int]]


def address(number: int) -> str:
    return f"https://pictures.example/{number}.jpg"


def bing_page(numbers: Sequence[int]) -> bytes:
    def tile(number: int) -> str:
        about = {
            "purl": f"https://site.example/{number}",
            "murl": address(number),
            "turl": "https://a.example/",
        }
        return f'<div class="imgpt"><a class="iusc" m="{html.escape(json.dumps(about))}" href="#"></a></div>'

    tiles = "".join(map(tile, numbers))
    return f"<html><body>{tiles}<div class='imgpt'><a href='#'></a></div></body></html>".encode()


def google_page(numbers: Sequence[int]) -> bytes:
    found = ",".join(f'["{address(number)}",600,800]' for number in numbers)
    script = f"AF_initDataCallback({{data:[{found}]}});"
    return f"<html><script>var a;</script><script>{script}</script></html>".encode()


def baidu_code(url: str) -> str:
    plain, secret = "abcdefghijklmnopqrstuvw1234567890", "wkv1ju2it3hs4g5rq6fp7eo8dn9cm0bla"
    code = "".join(secret[plain.index(c)] if c in plain else c for c in url)
    return code.replace(":", "_z2C$q").replace(".", "_z&e3B").replace("/", "AzdH3F")


def baidu_page(numbers: Sequence[int]) -> bytes:
    data = [
        {"objURL": baidu_code(address(n)), "fromURL": baidu_code(f"https://site.example/{n}")}
        for n in numbers
    ]
    return json.dumps({"queryEnc": "x", "data": [*data, {}]}).encode()


def flickr_page(numbers: Sequence[int]) -> bytes:
    photos = [
        {
            "id": str(n),
            "owner": "some",
            "license": "4",
            "title": "a",
            "ownername": "Some One",
            "url_l": address(n),
        }
        for n in numbers
    ]
    return json.dumps(
        {"photos": {"page": 1, "photo": [*photos, {"id": "0", "owner": "x"}]}, "stat": "ok"}
    ).encode()


#: host, page format, which page of results a query asks for, search parameter
ENGINES: dict[str, tuple[str, Callable[[Sequence[int]], bytes], Callable[[Query], int], str]] = {
    "bing": ("www.bing.com", bing_page, lambda q: int(q["first"]) // 20, "q"),
    "google": ("www.google.com", google_page, lambda q: int(q["start"]) // 100, "q"),
    "baidu": ("image.baidu.com", baidu_page, lambda q: int(q["pn"]) // 30, "word"),
    "flickr": ("api.flickr.com", flickr_page, lambda q: int(q["page"]) - 1, "text"),
}


@pytest.fixture
def play(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Pages], None]:
    monkeypatch.setenv("FLICKR_APIKEY", "key")

    def host(name: str, pages: Pages) -> None:
        domain, page, number, _ = ENGINES[name]

        def answer(path: str, query: Query) -> Answer:
            return page(pages[number(query)] if number(query) < len(pages) else [])

        internet.hosts[domain] = answer

    return host


def crawl(name: str, out: Path, limit: int, query: str = "grass") -> dict[str, object]:
    return collect_from(name, "grass", out, limit, query=query)


PAGES = [[1, 1001, 2, 2001, 3], [3, 4, 3001, 5, 6], [7, 8, 9, 10, 11], [12, 13]]


@pytest.mark.parametrize("name", ENGINES)
def test_crawls_on_until_enough_are_good(
    name: str, play: Callable[[str, Pages], None], tmp_path: Path
) -> None:
    play(name, PAGES)
    assert crawl(name, tmp_path / "out", 10) == {"pictures": 10, "new": 10, "refused": 3}
    rows = read_jsonl(tmp_path / "out/manifest.jsonl", PictureRow)
    assert {row.file_url for row in rows} == {address(n) for n in range(1, 11)}
    assert {(row.engine, row.query, row.label) for row in rows} == {(name, "grass", "grass")}
    assert all((tmp_path / "out" / row.file).stat().st_size == row.bytes and row.fetched for row in rows)
    reasons = [refusal.reason for refusal in read_jsonl(tmp_path / "out/rejected.jsonl", Refusal)]
    assert Counter(reasons) == {"http-404": 1, "format": 1, "too-small": 1}


def test_says_where_a_picture_stands_and_its_licence(play: Callable[[str, Pages], None]) -> None:
    for name, page, license, author in (
        ("bing", "https://site.example/1", None, None),
        ("baidu", "https://site.example/1", None, None),
        ("flickr", "https://www.flickr.com/photos/some/1", "CC BY 2.0", "Some One"),
    ):
        play(name, [[1]])
        first = next(registry.find(name).candidates(Request("grass", "grass", 1)))
        assert (first.page_url, first.license, first.author) == (page, license, author)


@pytest.mark.parametrize("name", ENGINES)
def test_asks_for_any_words(name: str, play: Callable[[str, Pages], None], internet: Internet) -> None:
    words, seen = "grün & hohes Gras#1 100%", []
    play(name, [[1]])
    answer = internet.hosts[ENGINES[name][0]]
    internet.hosts[ENGINES[name][0]] = lambda path, query: (
        seen.append(query[ENGINES[name][3]]),
        answer(path, query),
    )[1]
    next(registry.find(name).candidates(Request("grass", words, 1)))
    assert seen == [words]


@pytest.mark.parametrize("name", ENGINES)
def test_too_few_is_an_error_that_says_what_came(
    name: str, play: Callable[[str, Pages], None], tmp_path: Path
) -> None:
    play(name, [[1, 2, 3, 1001, 1002, 3001]])
    expected = rf"'{name}' brought 3 pictures of 'grass'; 50 were asked for and at least 10 are needed\. "
    expected += r"Refused: 2 http-404, 1 too-small\. Try"
    with pytest.raises(SourceError, match=expected):
        crawl(name, tmp_path / "out", 50)


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("bing", (429, b"slow down"), "https://www.bing.com: it answered 429"),
        ("google", b"<html><body>Please enable JavaScript</body></html>", "brought no pictures"),
        (
            "baidu",
            b'{"antiFlag":1,"message":"Forbid spider access"}',
            "Baidu refuses to search: Forbid spider access",
        ),
        ("baidu", b"<html>verify that you are human</html>", "in another format than expected"),
        (
            "flickr",
            b'{"stat":"fail","code":100,"message":"Invalid API Key"}',
            "Flickr refuses to search: Invalid API Key",
        ),
        ("flickr", b'{"stat":"ok"}', "in another format than expected"),
    ],
)
def test_a_refusal_of_the_engine_is_told(
    name: str, answer: Answer, words: str, internet: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    internet.hosts[ENGINES[name][0]] = lambda path, query: answer
    with pytest.raises(SourceError, match=re.escape(words)):
        crawl(name, tmp_path / "out", 10)


def test_an_engine_out_of_reach_is_told(internet: Internet, tmp_path: Path) -> None:
    with pytest.raises(
        SourceError,
        match=r"brought no pictures.*bing brought nothing: https://www\.bing\.com: .*no host www\.bing\.com",
    ):
        crawl("bing", tmp_path / "out", 10)


def test_a_crawl_cut_short_keeps_what_it_has_and_says_so(internet: Internet, tmp_path: Path) -> None:
    internet.hosts["www.bing.com"] = lambda path, query: (
        bing_page(range(1, 13)) if query["first"] == "0" else (500, b"")
    )
    told: list[str] = []
    out = tmp_path / "out"
    collect_from("bing", "grass", out, 30, on_progress=lambda share, words: told.append(words))
    assert "12 pictures" in told[-1] and "ended early: https://www.bing.com: it answered 500" in told[-1]
    assert read_jsonl(out / "rejected.jsonl", Refusal) == []


def test_flickr_needs_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FLICKR_APIKEY", raising=False)
    with pytest.raises(SourceError, match=r"needs a key.*FLICKR_APIKEY"):
        crawl("flickr", tmp_path / "out", 10)


def test_a_recrawl_adds_and_loses_nothing(
    play: Callable[[str, Pages], None], internet: Internet, tmp_path: Path
) -> None:
    play("bing", [range(1, 13)])
    crawl("bing", tmp_path / "one", 12)
    before = {row.sha256: row for row in read_jsonl(tmp_path / "one/manifest.jsonl", PictureRow)}
    play("bing", [[*range(5, 13), *range(20, 24)]])
    internet.asked.clear()
    assert crawl("bing", tmp_path / "two", 12) == {"pictures": 16, "new": 4, "refused": 0}
    after = {row.sha256: row for row in read_jsonl(tmp_path / "two/manifest.jsonl", PictureRow)}
    assert all(after[sha] == row for sha, row in before.items())
    assert len([url for url in internet.asked if "pictures.example" in url]) == 4
    assert all((tmp_path / "two" / row.file).exists() for row in after.values())


def test_a_recrawl_that_finds_the_same_gives_the_same_bytes(
    play: Callable[[str, Pages], None], tmp_path: Path
) -> None:
    play("bing", [range(1, 13)])
    crawl("bing", tmp_path / "one", 12)
    crawl("bing", tmp_path / "two", 12)
    assert (tmp_path / "one/manifest.jsonl").read_bytes() == (tmp_path / "two/manifest.jsonl").read_bytes()


def test_a_recrawl_that_finds_nothing_keeps_what_is_there_if_that_is_enough(
    play: Callable[[str, Pages], None], tmp_path: Path
) -> None:
    play("bing", [range(1, 10)])
    crawl("bing", tmp_path / "one", 9)
    play("bing", [])
    told = crawl("bing", tmp_path / "two", 9)
    assert (told["pictures"], told["retry"]) == (9, ["bing"])
    assert str(told["warning"]).startswith("bing brought nothing: it lists no picture that can be used")
    with pytest.raises(SourceError, match=r"brought no pictures.*The 9 earlier pictures are still there"):
        crawl("bing", tmp_path / "three", 12)


@pytest.mark.parametrize(
    ("name", "part"), [("bing", "license-L2_L3"), ("google", "sur:fmc"), ("flickr", "4,5,7,8,9,10,11,12")]
)
def test_asks_for_free_licences_only(
    name: str, part: str, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    seen: list[Query] = []
    internet.hosts[ENGINES[name][0]] = lambda path, query: (seen.append(query), ENGINES[name][1]([1]))[1]
    next(registry.find(name).candidates(Request("grass", "grass", 1, license="commercial,modify")))
    assert any(part in value for value in seen[0].values())


def test_a_licence_that_cannot_be_asked_for_is_an_error(tmp_path: Path) -> None:
    for name, license, words in (
        ("baidu", "commercial", "cannot filter"),
        ("google", "publicdomain", "cannot filter"),
        ("bing", "free", "'free' is not known"),
    ):
        with pytest.raises(SourceError, match=words):
            collect(registry.find(name), Request("grass", "grass", 1, license=license), tmp_path, {}, quiet)


class Search:
    """DownloadImages of a search engine that shows 14 pictures, in a data root of its own."""

    def __init__(self, root: Path, internet: Internet) -> None:
        self.root, self.internet = root, internet

    def task(self, **options: object) -> DownloadImages:
        parameters = {"source": "bing", "folder": None, "limit": 12, "license": "", "refresh_days": 30}
        return DownloadImages(root=self.root, label="grass", **parameters | options)

    def run(self, **options: object) -> list[str]:
        """The addresses that a run asked for."""
        self.internet.asked.clear()
        self.task(**options).run()
        return [*self.internet.asked]

    def edit_stamp(self, **values: object) -> None:
        file = self.task().output_folder / "stamp.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    def rows(self) -> list[PictureRow]:
        return read_jsonl(self.task().output_folder / "manifest.jsonl", PictureRow)


@pytest.fixture
def search(play: Callable[[str, Pages], None], internet: Internet, tmp_path: Path) -> Search:
    play("bing", [range(1, 15)])
    search = Search(tmp_path / "data", internet)
    assert len(search.run()) == 13
    return search


def test_new_code_examines_the_pictures_at_hand_and_asks_nobody(search: Search) -> None:
    before, searched = search.rows(), search.task().stamp().finished
    # As a version before would have left it: other files of code, and no word of when it searched.
    # In this folder, and with this summary.
    assert search.task().output_folder == search.root / "DownloadImages" / "grass-5e22105ee2b1"
    assert search.task().stamp().summary == {"pictures": 12, "new": 12, "refused": 0}
    code = {"greenr_luigi/collection.py": {"bytes": "0", "syntax": "0"}}
    search.edit_stamp(code=code, finished=searched - 5 * 86400)
    assert "code of" in str(search.task().stale_because())
    assert search.run() == []
    assert search.task().complete() and search.rows() == before
    assert search.task().stamp().summary["searched"] == searched - 5 * 86400
    assert search.task(refresh_days=4).stale_because() == "collected 5 days ago, refresh_days is 4"


def test_what_a_stricter_version_refuses_goes_and_nobody_is_asked(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = search.rows()
    refused = sorted(before, key=lambda row: row.bytes)[-2:]
    monkeypatch.setattr(door, "MAX_BYTES", refused[0].bytes - 1)
    monkeypatch.setattr(examine, "CODE", "of that version")
    search.edit_stamp(libraries={"pillow": "1"})
    assert search.run() == []
    assert search.rows() == [row for row in before if row not in refused]
    assert search.task().stamp().summary["refused"] == 2


def test_if_a_stricter_version_leaves_too_few_it_searches(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_BYTES", sorted(row.bytes for row in search.rows())[7])
    monkeypatch.setattr(examine, "CODE", "of that version")
    search.edit_stamp(libraries={"pillow": "1"})
    assert any("bing.com" in url for url in search.run())
    assert "searched" not in search.task().stamp().summary


def test_an_old_search_is_made_again(search: Search) -> None:
    search.edit_stamp(summary={"searched": search.task().stamp().finished - 40 * 86400})
    assert any("bing.com" in url for url in search.run())
    assert search.task().complete() and "searched" not in search.task().stamp().summary


def test_a_search_from_the_future_is_made_again(search: Search) -> None:
    search.edit_stamp(finished=search.task().stamp().finished + 40 * 86400)
    assert str(search.task().stale_because()).startswith("collected 40 days from now")
    assert any("bing.com" in url for url in search.run())
    assert search.task().complete()


def test_a_search_grows_old_in_a_process_that_lives_on(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(Stage, "build_began", now)
    monkeypatch.setattr(time, "time", lambda: now + 31 * 86400)
    search.internet.asked.clear()
    assert luigi.build([search.task()], local_scheduler=True, log_level="WARNING")
    assert any("bing.com" in url for url in search.internet.asked)


def test_a_picture_that_is_lost_comes_from_the_store(search: Search) -> None:
    before = search.rows()
    (search.task().output_folder / before[0].file).unlink()
    assert not any("pictures.example" in url for url in search.run())
    assert search.rows() == before and search.task().stale_because() is None


def test_a_search_that_is_forced_asks(search: Search) -> None:
    search.edit_stamp(finished=1.0)
    assert any("bing.com" in url for url in search.run(force=("DownloadImages",)))


def test_another_source_makes_no_collection_stale(search: Search, tmp_path: Path) -> None:
    """Nor does the list of sources: only what the source's own module imports, and how all are collected."""
    files = set(search.task().stamp().code)
    assert {"greenr_luigi/sources/bing.py", "greenr_luigi/sources/collection.py"} <= files
    others = {f"greenr_luigi/sources/{name}.py" for name in (*registry.SOURCES, "registry")}
    assert files & others == {"greenr_luigi/sources/bing.py"}


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_text('{"reason": "fo')]
)
def test_pictures_stay_where_the_list_of_refusals_is_lost(
    search: Search, damage: Callable[[Path], object]
) -> None:
    """The web may have no more of them."""
    before = search.rows()
    search.internet.hosts.clear()
    search.internet.hosts["www.bing.com"] = lambda path, query: (500, b"")
    damage(search.task().output_folder / "rejected.jsonl")
    search.run()
    assert search.rows() == before


def test_the_same_request_by_other_words_has_the_same_output(tmp_path: Path) -> None:
    def folder(source: str, **options: object) -> Path:
        parameters = {"folder": tmp_path, "limit": 0, "license": "", "refresh_days": 30, "query": ""}
        task = DownloadImages(root=tmp_path, label="grass", source=source, **parameters | options)
        return task.output_folder.relative_to(tmp_path)

    assert len({folder("bing"), folder("bing", limit=200), folder("bing", query="grass")}) == 1
    assert len({folder("bing"), folder("bing", limit=199), folder("bing", query="lawn")}) == 3
    assert len({folder("folder"), folder("folder", limit=200)}) == 2
