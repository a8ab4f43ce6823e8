"""The pictures of a web site, played on loopback."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from yarl import URL

from greenr_luigi.pictures.manifest import PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import crawl, download, opt_outs, pace, registry, web_page
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Request, SourceError
from tests.progress import quiet
from tests.sources.conftest import Answer, Internet, Query, picture

HOST, START = "site.example", "https://site.example/grass/"
HTML = [("Content-Type", "text/html; charset=utf-8")]


def html(body: str, title: str = "Grass", head: str = "") -> Answer:
    return 200, f"<html><head><title>{title}</title>{head}</head><body>{body}".encode(), HTML


def shows(*numbers: int) -> str:
    return "".join(f'<img src="https://pictures.example/{number}.jpg">' for number in numbers)


Play = Callable[[Mapping[str, Answer]], list[str]]


@pytest.fixture
def play(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Play:
    """A site with these pages, by path and query; returns the paths that are asked for."""
    monkeypatch.setattr(download, "RETRIES", 0)

    def site(pages: Mapping[str, Answer]) -> list[str]:
        asked: list[str] = []

        def answer(path: str, query: Query) -> Answer:
            path += "?" * bool(query) + "&".join(f"{name}={value}" for name, value in query.items())
            asked.append(path)
            return pages.get(path, (404, b"gone", HTML))

        own = internet.hosts["pictures.example"]
        internet.hosts[HOST] = answer
        internet.hosts["pictures.example"] = lambda path, query: (
            (404, b"") if path == "/robots.txt" else own(path, query)
        )
        return asked

    return site


def collected(root: Path, start: str = START, limit: int = 10, **more: object) -> list[PictureRow]:
    out = root / "out"
    out.mkdir()
    request = Request("grass", start, limit, root=root / "data", **more)  # type: ignore[arg-type]
    root.joinpath("counts").write_text(str(collect(registry.find("site"), request, out, {}, quiet)))
    return read_jsonl(out / "manifest.jsonl", PictureRow)


def refusals(root: Path) -> list[Refusal]:
    return read_jsonl(root / "out" / "rejected.jsonl", Refusal)


def test_goes_through_a_site_breadth_first(play: Play, tmp_path: Path) -> None:
    asked = play(
        {
            "/grass/": html(shows(1, 2) + '<a href="wild/">wild</a><a href="b.html#top">b</a><a href="/grass/">me</a>'),
            "/grass/wild/": html(shows(2, 3, 4) + '<a href="deep/one.html">deep</a>'),
            "/grass/b.html": html(shows(5, 6, 7) + '<a href="?page=2">next</a>'),
            "/grass/wild/deep/one.html": html(shows(8, 9, 1001)),
            "/grass/b.html?page=2": html(shows(10, 11)),
        }
    )  # fmt: skip
    rows = collected(tmp_path, limit=11)
    assert {row.file_url for row in rows} == {f"https://pictures.example/{n}.jpg" for n in range(1, 12)}
    pages = {row.file_url: row.page_url for row in rows}
    assert pages["https://pictures.example/8.jpg"] == "https://site.example/grass/wild/deep/one.html"
    assert asked == [
        "/robots.txt",
        "/grass/",
        "/grass/wild/",
        "/grass/b.html",
        "/grass/wild/deep/one.html",
        "/grass/b.html?page=2",
    ]
    assert [refusal.reason for refusal in refusals(tmp_path)] == ["http-404"]


def test_stays_on_the_site_and_below_the_address(play: Play, tmp_path: Path, internet: Internet) -> None:
    away = [
        "https://elsewhere.example/grass/",
        "/moss/",
        "../moss/",
        "/grass/../moss/",
        "/grassland/",
        "//elsewhere.example/grass/",
        "https://elsewhere.example/?https://site.example/grass/",
        "https://site.example.elsewhere.example/grass/",
        "https://site.example@elsewhere.example/grass/",
        "https://site.example:444/grass/",
        "http://127.0.0.1/grass/",
        "ftp://site.example/grass/",
        "javascript:alert(1)",
        "mailto:a@site.example",
        "all.zip",
        "movie.mp4",
        "https://[bad",
    ]
    asked = play({"/grass/": html(shows(*range(10)) + "".join(f'<a href="{to}">x</a>' for to in away))})
    # One more than there are, so that it goes on.
    assert len(collected(tmp_path, limit=11)) == 10
    assert asked == ["/robots.txt", "/grass/"]
    assert {URL(url).host for url in internet.asked} == {HOST, "pictures.example"}


@pytest.mark.parametrize(
    ("start", "asked"),
    [
        ("https://site.example", "/"),
        ("https://site.example/grass", "/grass"),
        ("https://www.site.example/grass/index.html", None),
        ("https://site.example/grass/index.html", "/grass/index.html"),
    ],
)
def test_what_lies_below_an_address(start: str, asked: str | None, play: Play, tmp_path: Path) -> None:
    site = crawl.Crawl(Request("grass", start, root=tmp_path))
    assert site._is_of_site(URL("http://site.example/grass/a.html"))
    assert not site._is_of_site(URL("https://site.example/grasses/")) or asked == "/"


def test_robots_txt_is_obeyed_for_pages_and_pictures(play: Play, tmp_path: Path, internet: Internet) -> None:
    rules = b"User-agent: *\nDisallow: /grass/private/\nDisallow: /*.png$\n"
    asked = play(
        {
            "/robots.txt": (200, rules),
            "/grass/": html(shows(*range(11)) + '<a href="private/">no</a><img src="/grass/a.png">'),
        }
    )
    assert len(collected(tmp_path, limit=12)) == 11
    assert asked == ["/robots.txt", "/grass/"]
    (refused,) = refusals(tmp_path)
    assert refused.reason == "robots" and "robots.txt says not to ask" in refused.message
    hosts = [URL(url).host for url in internet.asked if url.endswith("/robots.txt")]
    assert sorted(map(str, hosts)) == ["pictures.example", HOST]


@pytest.mark.parametrize("header", [("X-Robots-Tag", "noai noimageai"), ("TDM-Reservation", "1")])
def test_a_page_is_kept_from_models_by_the_answer_that_leads_to_it(
    play: Play, tmp_path: Path, header: tuple[str, str]
) -> None:
    link = '<a href="to">to</a>'
    play(
        {
            "/grass/": html(shows(*range(10)) + link),
            "/grass/to": (302, b"", [("Location", "/grass/there"), header]),
            "/grass/there": html(shows(20)),
        }
    )
    assert len(collected(tmp_path, limit=11)) == 10
    (refused,) = refusals(tmp_path)
    assert (refused.reason, refused.file_url) == ("opt-out", "https://pictures.example/20.jpg")


def test_robots_txt_is_obeyed_where_an_address_leads_to(
    play: Play, tmp_path: Path, internet: Internet
) -> None:
    def led(path: str) -> Answer:
        return 302, b"", [("Location", path)]

    rules = b"User-agent: *\nDisallow: /grass/private/\n"
    asked = play(
        {
            "/robots.txt": (200, rules),
            "/grass/": html(shows(*range(10)) + '<a href="to">no</a><img src="a.jpg"><img src="b.jpg">'),
            "/grass/to": led("/grass/private/"),
            "/grass/a.jpg": led("http://closed.example/a.jpg"),
            "/grass/b.jpg": led("http://open.example/b.jpg"),
        }
    )
    for host, pictures in (("closed.example", b"Disallow: /"), ("open.example", b"Disallow: /a")):
        robots = b"User-agent: *\n" + pictures
        internet.hosts[host] = lambda path, query, robots=robots: (  # type: ignore[misc]
            (200, robots) if path == "/robots.txt" else picture(20)
        )
    rows = collected(tmp_path, limit=12)
    assert len(rows) == 11 and "https://site.example/grass/b.jpg" in {row.file_url for row in rows}
    assert sorted(asked) == ["/grass/", "/grass/a.jpg", "/grass/b.jpg", "/grass/to", "/robots.txt"]
    (refused,) = refusals(tmp_path)
    assert (refused.reason, refused.file_url) == ("robots", "https://site.example/grass/a.jpg")
    assert "http://closed.example/robots.txt says not to ask" in refused.message
    assert "http://closed.example/a.jpg" not in internet.asked


def test_a_site_that_wants_no_programs_is_left(play: Play, tmp_path: Path) -> None:
    asked = play({"/robots.txt": (200, b"User-agent: *\nDisallow: /"), "/grass/": html(shows(1))})
    with pytest.raises(SourceError, match=r"robots\.txt says not to ask for it"):
        collected(tmp_path)
    assert asked == ["/robots.txt"]


class Clock:
    """A time that goes on where a crawl sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began = self.now = time.time()
        monkeypatch.setattr(crawl, "time", SimpleNamespace(monotonic=time.monotonic, sleep=self.sleep))
        monkeypatch.setattr(pace, "time", SimpleNamespace(time=lambda: self.now))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_site_whose_rules_are_slow_to_come_holds_up_no_other(
    play: Play, internet: Internet, tmp_path: Path
) -> None:
    slow, asked = threading.Event(), threading.Event()

    def answer(path: str, query: Query) -> Answer:
        asked.set()
        slow.wait(20)
        return 404, b""

    play({})
    internet.hosts["live.staticflickr.com"] = answer
    site = crawl.Crawl(Request("grass", START, root=tmp_path))
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(site._wait_for, URL("https://live.staticflickr.com/1.jpg"))
        assert asked.wait(60)
        site._wait_for(URL(START))
        assert not waits.done()
        slow.set()
        waits.result()


def test_two_crawls_of_a_site_ask_as_seldom_as_one(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever processes: each has a file of its own open."""
    clock = Clock(monkeypatch)
    play({"/robots.txt": (200, b"User-agent: *\nCrawl-delay: 5"), "/grass/": html(shows(1))})
    (tmp_path / "data").mkdir()
    crawls = [crawl.Crawl(Request("grass", START, root=tmp_path / "data")) for _ in range(2)]
    for turn in range(4):
        crawls[turn % 2]._wait_for(URL(START))
        assert 5 * turn <= clock.now - clock.began < 5 * turn + 1


def test_as_seldom_as_it_wants(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    links = "".join(f'<a href="{n}.html">x</a>' for n in range(4))
    pages = {f"/grass/{n}.html": html(shows(*range(n * 3, n * 3 + 3))) for n in range(4)}
    play({"/robots.txt": (200, b"User-agent: *\nCrawl-delay: 5"), "/grass/": html(links), **pages})
    assert len(collected(tmp_path, limit=12)) == 12
    # Five pages.
    assert 20 <= clock.now - clock.began < 21
    monkeypatch.setattr(crawl, "MOST_DELAY", 4)
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(SourceError, match=r"site\.example wants 5 seconds between two requests"):
        collected(again)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, b""), "it answered 503"),
        ((403, b"Forbidden"), "it answered 403"),
        ((302, b"", [("Location", "https://login.example/?next=grass")]), "it leads to https://login.example/"),
        ((302, b"", [("Location", "/sign-in")]), "it leads to https://site.example/sign-in"),
        (html("<input type=password>", "Please log in"), "1 were read, the first titled 'Please log in'"),
        ((200, b"%PDF-", [("Content-Type", "application/pdf")]), "it is application/pdf, and no page"),
        ((200, b"", HTML), "shows a picture"),
    ],
)  # fmt: skip
def test_what_is_no_such_page_is_told(
    answer: Answer, words: str, play: Play, tmp_path: Path, internet: Internet
) -> None:
    play({"/grass/": answer, "/sign-in": html(shows(*range(20)))})
    internet.hosts["login.example"] = lambda path, query: html(shows(*range(20)))
    with pytest.raises(SourceError, match=f"site brought nothing: .*{re.escape(words)}"):
        collected(tmp_path)


def test_a_site_that_breaks_off_leaves_what_it_showed(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl, "MOST_FAILURES", 2)
    pages: dict[str, Answer] = {f"/grass/{n}": (503, b"") for n in range(9)}
    links = "".join(f'<a href="{n}">x</a>' for n in ["gone", *range(9)])
    asked = play({"/grass/": html(shows(*range(12)) + links), **pages})
    assert len(collected(tmp_path, limit=40)) == 12
    assert "ended early: https://site.example/grass/1: it answered 503" in (tmp_path / "counts").read_text()
    assert asked[2:] == ["/grass/gone", "/grass/0", "/grass/1"]


def test_a_site_without_end_is_left(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crawl, "MOST_PAGES", 5)
    days = {f"/grass/?day={n}": html(shows(20 + n) + f'<a href="?day={n + 1}">next</a>') for n in range(50)}
    asked = play({"/grass/": html(shows(*range(12)) + '<a href="?day=0">x</a>'), **days})
    assert len(collected(tmp_path, limit=100)) == 16
    assert len(asked) == 6
    told = (tmp_path / "counts").read_text()
    assert "site: left site.example after 5 pages, with more to see" in told and "warning" not in told


def test_a_site_that_shows_too_much_is_left(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawl, "MOST_PICTURES", 13)
    monkeypatch.setattr(crawl, "MOST_KNOWN", 3)
    links = "".join(f'<a href="{n}">x</a>' for n in range(20, 40))
    asked = play(
        {"/grass/": html(shows(*range(12)) + links), **{f"/grass/{n}": html(shows(n)) for n in range(20, 40)}}
    )
    assert len(collected(tmp_path, limit=100)) == 14
    assert asked == ["/robots.txt", "/grass/", "/grass/20", "/grass/21"]


def test_what_its_pages_keep_from_models(play: Play, tmp_path: Path, internet: Internet) -> None:
    site = {
        "/grass/": html(shows(*range(11)) + '<a href=a></a><a href=b></a><a href=c rel=nofollow></a><a href=d></a>'),
        "/grass/a": html(shows(20), head='<meta name="ROBOTS" content="noai, noimageai">'),
        "/grass/b": (200, html(shows(21))[1], [*HTML, ("X-Robots-Tag", "noimageindex")]),
        "/grass/d": html(shows(22) + '<a href="e">e</a>', head='<meta name=robots content="nofollow">'),
    }  # fmt: skip
    asked = play(site)
    assert len(collected(tmp_path, limit=20)) == 12
    assert [(one.reason, one.file_url) for one in refusals(tmp_path)] == [
        ("opt-out", "https://pictures.example/20.jpg"),
        ("opt-out", "https://pictures.example/21.jpg"),
    ]
    assert not {"/grass/c", "/grass/e"} & {*asked}
    again = tmp_path / "ours"
    again.mkdir()
    assert len(collected(again, limit=20, opt_outs=False)) == 14


@pytest.mark.parametrize("query", ["grass", "site.example/grass/", "", "file:///etc/"])
def test_it_wants_an_address(query: str, tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"wants the address of a site for 'grass', .*--queries '\{\"grass\": \"https"
    ):
        collected(tmp_path, query)


@pytest.mark.parametrize("query", ["https://", "https://[bad/", "https://a:b/"])
def test_an_address_that_is_none(query: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        collected(tmp_path, query)


def test_it_is_asked_alone() -> None:
    for names in ("site,bing", "openverse,site"):
        with pytest.raises(SourceError, match="name 'site' alone"):
            registry.find(names)


PAGE = """<html><head><title> Wild
 grass </title><base href="/media/"></head><body>
<img src="a.jpg?w=1"><img src='b.webp' srcset="b-1.webp 320w, b-2.webp 1280w,">
<img data-src="c.jpg" src="data:image/gif;base64,R0">
<a href="large.JPG"><img src="small.jpg"></a><img src="after.jpg"><a href="d.html">d</a><area href="map.html">
<img src=""><img><img src="//cdn.example/e.png"><img src="a.jpg?w=1"><a href="docs.pdf">no</a><a name=x>no</a>"""


def addresses(found: Sequence[URL]) -> list[str]:
    return [str(address).removeprefix("https://site.example/media/") for address in found]


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("<meta name=robots content='NoAI, nofollow'>", "noai"),
        ("<META NAME=' Robots ' CONTENT=noimageai>", "noimageai"),
        ("<meta http-equiv=X-Robots-Tag content=noindex>", "noindex"),
        ("<meta name=greenr_luigi content=none>", "none"),
        ("<meta name=TDM-Reservation content=1>", "tdm-reservation: 1"),
        ("<meta http-equiv=TDM-Reservation content=1>", "tdm-reservation: 1"),
        (
            "<meta name=googlebot content=noai><meta http-equiv=refresh content=noai><meta content=noai><meta name>",
            None,
        ),
    ],
)
def test_how_a_page_keeps_its_pictures_from_models(meta: str, words: str | None) -> None:
    page = web_page.read(meta.encode(), URL(START))
    said = opt_outs.said_in(page.robots, page.reservations)
    assert (said is None) == (words is None) and (said or "").endswith(words or "")


def test_what_a_page_shows_and_leads_to() -> None:
    page = web_page.read(PAGE.encode(), URL(START))
    assert page.title == "Wild grass"
    expected = ["a.jpg?w=1", "b-2.webp", "c.jpg", "large.JPG", "after.jpg", "https://cdn.example/e.png"]
    assert addresses([*page.pictures]) == expected
    assert addresses([*page.links]) == ["d.html", "map.html"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\0",
        b"<img src='" + b"a" * 1_000_000 + b"'>",
        b"<img srcset='" + b"a," * 500_000 + b"'>",
        b"<div>" * 200_000 + b"<img src=a.jpg>",
        pytest.param(b"<a href=x>" * 300_000, marks=pytest.mark.slow),
        b"<title>" + b"a" * 3_000_000,
        b"<base href='http://[bad'><a href='http://[worse'>",
    ],
)
def test_no_page_takes_minutes(content: bytes, time_limit: None) -> None:
    page = web_page.read(content, URL(START))
    assert len(page.links) <= web_page.MOST_LINKS and len(page.title) <= 200


@pytest.fixture
def time_limit() -> object:
    import time

    began = time.process_time()
    yield
    assert time.process_time() - began < 5
