"""How hosts are asked: as whom, how often, when again, and for what not."""

from __future__ import annotations

import asyncio
import datetime
import errno
import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from yarl import URL

from greenr_luigi import about, guarded_http
from greenr_luigi.pictures.manifest import Refusal, read_jsonl
from greenr_luigi.sources import download, hosts, opt_outs, pace, registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.hosts import Hosts
from greenr_luigi.sources.loading import loaded
from greenr_luigi.sources.pace import Places
from greenr_luigi.sources.search_engine import BROWSER
from greenr_luigi.sources.source import Request, Unavailable
from tests.noted import noted
from tests.progress import quiet
from tests.sources.conftest import Answer, Internet, Query, picture
from tests.sources.test_search_engines import ENGINES

ADDRESS = "https://pictures.example/{}.jpg"


def play(internet: Internet, *answers: Answer) -> None:
    """The host gives these answers in turn, the last one from then on."""
    left = [*answers]
    internet.hosts["pictures.example"] = lambda path, query: left.pop(0) if len(left) > 1 else left[0]


def got(number: int = 1, session: download.Session | None = None) -> bytes | str:
    """A picture, or the reason why it is not there."""
    try:
        return download.fetch(session or download.Session(), ADDRESS.format(number))
    except Unavailable as why:
        return why.reason


@pytest.mark.parametrize("name", ENGINES)
def test_pictures_are_asked_for_as_ourselves_and_only_pages_that_need_it_as_a_browser(
    name: str, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    host, page, _, _ = ENGINES[name]
    internet.hosts[host] = lambda path, query: page([1])
    loaded(next(registry.find(name).candidates(Request("grass", "grass", contact="me@example.org"))).load)
    ours = f"greenr_luigi/{about.version()} (me@example.org)"
    assert internet.agents["pictures.example"] == {ours}
    assert internet.agents[host] == {ours if name == "flickr" else BROWSER}


class Clock:
    """The time of `pace`, which stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(pace, "time", SimpleNamespace(time=lambda: self.now))


def test_a_host_has_so_many_places_and_each_its_share_of_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for shared in (None, tmp_path / "hosts.lock"):
        places = Places(4, 0.5, shared)
        taken = [places.take("a") for _ in range(6)]
        assert [isinstance(one, int) for one in taken] == [True] * 4 + [False] * 2
        assert isinstance(places.take("b"), int)
        for place in taken[:4]:
            places.leave(int(place))
        assert places.take("a") == pace.POLL
        clock.now += 0.49
        assert places.take("a") == pytest.approx(0.01)
        clock.now += 0.01
        assert isinstance(places.take("a"), int)
        # A clock that was set back holds nobody up.
        clock.now -= 900


def test_processes_of_a_root_share_the_places_and_one_that_ends_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As do two that have the file open, each for itself."""
    clock = Clock(monkeypatch)
    one, other = (Places(2, 0.5, tmp_path / "hosts.lock") for _ in range(2))
    place = one.take("a")
    assert isinstance(place, int) and isinstance(one.take("a"), int) and isinstance(other.take("a"), float)
    one.leave(place)
    assert isinstance(other.take("a"), float)
    clock.now += 1
    assert other.take("a") == place and isinstance(other.take("a"), float)
    del one
    assert isinstance(other.take("a"), int)


def test_what_a_host_wants_of_one_run_all_others_of_the_root_keep_to(
    tmp_path: Path, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(internet, busy("3600", 503))

    def run() -> download.Session:
        return download.Session(hosts=Hosts(8, tmp_path))

    before = run()
    assert [got(1, run()), got(2, run()), got(3, before)] == ["http-503", "http-429", "http-429"]
    assert len(internet.asked) == 1
    # Another root, an hour later, and where the clock was set back by more than a day.
    play(internet, picture(1))
    assert got(1, download.Session(hosts=Hosts(8, tmp_path.parent))) == picture(1)
    clock, now = Clock(monkeypatch), time.time()
    for clock.now in (now + 3700, now - 90_000):
        assert got(1, run()) == picture(1)
    clock.now = now
    assert got(1, run()) == "http-429"


def test_who_wants_to_be_left_alone_for_ever_is_for_less_than_a_day(tmp_path: Path) -> None:
    places = Places(1, 0, tmp_path / "hosts.lock")
    places.close("a.example", 1e9)
    assert pace.MOST_CLOSED - 60 < places.closed("a.example") <= pace.MOST_CLOSED < 86_400
    # Of a name that stands in the same place, nothing is known.
    same = next(f"{n}" for n in range(100_000) if pace._number(f"{n}") == pace._number("a.example"))
    assert places.closed(same) == 0
    assert isinstance(places.take("a.example"), int)


def test_where_the_file_is_none_of_ours_nobody_is_held_up(tmp_path: Path) -> None:
    (tmp_path / "torn").write_bytes(b"\xff" * 12)
    for shared in (tmp_path / "no" / "folder", tmp_path / "torn"):
        assert isinstance(Places(2, 0.5, shared).take("a"), int)


def test_where_a_file_system_has_no_such_locks_each_process_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fcntl(*args: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(pace, "fcntl", SimpleNamespace(**vars(pace.fcntl) | {"fcntl": fcntl}))
    places = Places(2, 0.5, tmp_path / "hosts.lock")
    assert [isinstance(places.take("a"), int) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("fails", ["pread", "pwrite"])
def test_where_the_file_is_lost_each_process_counts_for_itself(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*args: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(pace.os, fails, gone)
    places = Places(2, 60, tmp_path / "hosts.lock")
    took = [places.take("a"), places.take("a")]
    for place in took:
        assert isinstance(place, int)
        places.leave(place)
    assert isinstance(places.take("a"), float) and places.closed("a") == 0


class Slow:
    """A host that answers when it is told to, and says how many wait."""

    def __init__(self, internet: Internet, name: str) -> None:
        self.answers, self.lock = threading.Event(), threading.Lock()
        self.waiting = self.most = 0
        internet.hosts[name] = self.answer

    def answer(self, path: str, query: Query) -> Answer:
        with self.lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.answers.wait(60)
        with self.lock:
            self.waiting -= 1
        return picture(int(path.strip("/").split(".")[0]))


def wait_for(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.mark.slow
def test_no_more_than_half_of_what_a_second_allows_are_under_way(internet: Internet) -> None:
    slow = Slow(internet, "pictures.example")
    session = download.Session(hosts=Hosts(a_second=6))
    with ThreadPoolExecutor(12) as pool:
        began = time.monotonic()
        coming = [pool.submit(got, number, session) for number in range(12)]
        wait_for(lambda: slow.waiting == 3)
        slow.answers.set()
        assert all(isinstance(one.result(), bytes) for one in coming)
    # Places are taken four times, and each time for half a second.
    assert slow.most == 3 and time.monotonic() - began > 1.5


def test_all_hosts_together_have_no_more_than_are_allowed_at_once(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "AT_ONCE", 16)
    slow = Slow(internet, "pictures.example")
    session = download.Session()
    with ThreadPoolExecutor(40) as pool:
        coming = [pool.submit(got, number, session) for number in range(40)]
        wait_for(lambda: slow.waiting == 16)
        slow.answers.set()
        assert all(isinstance(one.result(), bytes) for one in coming) and slow.most == 16


@pytest.mark.parametrize(("soon", "long", "most"), [(60, 60, 200), (0, 60, 128), (0, 0, 16)])
def test_more_are_asked_at_once_as_long_as_answers_come_soon(
    soon: float, long: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fewer where they take long, as on a line that is slow for all of them."""
    monkeypatch.setattr(hosts, "SOON", soon)
    monkeypatch.setattr(hosts, "LONG", long)
    monkeypatch.setattr(hosts, "AT_ONCE", 200)
    known, inside = Hosts(), 0

    async def ask(number: int, until: asyncio.Event) -> None:
        nonlocal inside
        async with known.turn(URL(f"https://{number}.example/")):
            inside += 1
            await until.wait()

    async def asking() -> None:
        nonlocal inside
        for _ in range(2):
            until, inside = asyncio.Event(), 0
            asked = [asyncio.ensure_future(ask(number, until)) for number in range(300)]
            for _ in range(20):
                await asyncio.sleep(0)
            now = inside
            until.set()
            await asyncio.gather(*asked)
        assert now == most and inside == 300

    asyncio.run(asking())


def test_of_the_open_files_that_there_may_be_half_are_for_others() -> None:
    told = "from greenr_luigi.sources.source import AT_ONCE; print(AT_ONCE)"
    command = ["sh", "-c", f"ulimit -n 100; exec '{sys.executable}' -c '{told}'"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "50\n"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again_and_no_more_than_three_times(internet: Internet, status: int) -> None:
    play(internet, (status, b""), (status, b""), (status, b""), picture(1))
    assert got() == picture(1) and len(internet.asked) == 4
    internet.asked.clear()
    play(internet, (status, b""))
    assert got() == f"http-{status}" and len(internet.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [(403, b""), (404, b""), (410, b""), (401, b""), (451, b""), (200, b"", [("X-Robots-Tag", "noai")])],
)
def test_what_stays_so_is_asked_once(internet: Internet, answer: Answer) -> None:
    play(internet, answer)
    assert got() in ("opt-out", *(f"http-{status}" for status in (401, 403, 404, 410, 451)))
    assert len(internet.asked) == 1


def test_tries_are_further_and_further_apart_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "random", random)
    known, url = Hosts(), URL("https://a.example/")
    for tries, most in ((1, 1), (2, 2), (3, 4)):
        waits = [known.wait(url, tries) or 0 for _ in range(300)]
        assert 0 <= min(waits) < most / 4 and most * 3 / 4 < max(waits) <= most


def busy(retry_after: str, status: int = 429) -> Answer:
    return status, b"", [("Retry-After", retry_after)]


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_wants_to_be_left_alone_is_until_then(internet: Internet, status: int) -> None:
    times: list[float] = []
    answers: list[Answer] = [busy("1", status)]

    def answer(path: str, query: Query) -> Answer:
        times.append(time.monotonic())
        return answers.pop() if answers else picture(1)

    internet.hosts["pictures.example"] = answer
    session = download.Session()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(got, 1, session)
        wait_for(lambda: session.hosts._hosts["pictures.example"].closed_until > 0)
        # Its other addresses wait, too.
        assert got(2, session) == first.result() == picture(1)
    assert len(times) == 3 and times[1] - times[0] >= 0.95


@pytest.mark.parametrize(
    "wait", ["31", "86400", "999999999", "9" * 30, "9" * 400, "3600.5", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_a_host_that_wants_to_be_left_alone_for_long_is_not_asked_for_the_rest(
    internet: Internet, wait: str
) -> None:
    play(internet, busy(wait))
    session = download.Session()
    assert [got(number, session) for number in range(20)] == ["http-429"] * 20
    assert len(internet.asked) == 1
    # Others are.
    internet.hosts["live.staticflickr.com"] = lambda path, query: picture(1)
    assert download.fetch(session, "https://live.staticflickr.com/1.jpg") == picture(1)


@pytest.mark.parametrize("wait", ["", "soon", "-5", "1.", "+9", "0", "Fri, 31 Dec 1999 23:59:59 GMT", "½"])
def test_what_is_no_time_to_come_holds_nothing_up(internet: Internet, wait: str) -> None:
    play(internet, busy(wait.encode().decode("latin-1")), picture(1))
    assert got() == picture(1)


def test_when_to_ask_again_is_said_in_seconds_or_as_a_date() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=20)
    said = guarded_http.retry_after({"Retry-After": format_datetime(soon, usegmt=True)})
    assert said is not None and 15 < said <= 20
    assert guarded_http.retry_after({"Retry-After": " 7 "}) == 7 and guarded_http.retry_after({}) is None


@pytest.mark.parametrize(
    "form", ["%a %b %d %H:%M:%S %Y", "%A, %d-%b-%y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S -0000"]
)
def test_a_date_without_a_zone_is_not_of_our_own(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as far_away:
        far_away.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        soon = time.strftime(form, time.gmtime(time.time() + 20))
        wait = guarded_http.retry_after({"Retry-After": soon})
    time.tzset()
    assert wait is not None and 15 < wait <= 20


def test_who_refuses_and_wants_to_be_left_alone_is(internet: Internet) -> None:
    play(internet, (403, b"", [("Retry-After", "60")]))
    session = download.Session()
    assert [got(number, session) for number in range(3)] == ["http-403", "http-429", "http-429"]
    assert len(internet.asked) == 1


def test_a_redirect_is_followed_when_it_wants_to_be(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leads_on(wait: str) -> Answer:
        return 301, b"", [("Location", "/2.jpg"), ("Retry-After", wait)]

    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(guarded_http.asyncio, "sleep", noted)
    play(internet, leads_on("7"), picture(2))
    assert got() == picture(2) and 7 in waits
    play(internet, leads_on("3600"), picture(2))
    session = download.Session()
    assert [got(number, session) for number in (1, 3)] == ["slow", "slow"]
    assert len(internet.asked) == 3


def test_a_host_that_answers_nothing_is_given_up_and_the_others_are_not(internet: Internet) -> None:
    session = download.Session()
    dead = "https://dead.example/{}.jpg"
    reasons = Counter[str]()
    for number in range(100):
        with pytest.raises(Unavailable) as why:
            download.fetch(session, dead.format(number))
        reasons[why.value.reason] += 1
    # Two addresses are tried four times each, and then each once.
    tried = 2 + hosts.GIVEN_UP - hosts.DOUBTFUL
    assert reasons == {"network": tried, "given-up": 100 - tried}
    assert got(1, session) == picture(1)


@pytest.mark.slow
def test_a_host_that_answers_is_not_given_up_however_many_addresses_are_dead(internet: Internet) -> None:
    session = download.Session()
    for status in (404, 500, 403, 502):
        play(internet, (status, b""))
        assert [got(number, session) for number in range(40)] == [f"http-{status}"] * 40
    play(internet, picture(1))
    assert got(1, session) == picture(1)


def test_without_a_network_no_address_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch, internet: Internet
) -> None:
    asked = noted(monkeypatch, guarded_http, "fetch")
    session = download.Session()
    for number in range(hosts.AWAY):
        with pytest.raises(Unavailable):
            download.fetch(session, f"https://dead{number}.example/")
    assert len(asked) == hosts.AWAY + 3 * hosts.AWAY // 4
    # Once somebody answers, it is as before.
    play(internet, picture(1), (500, b""), picture(1))
    assert got(1, session) == got(2, session) == picture(1)


def said(*tags: str, tdm: Sequence[str] = ()) -> bool:
    return opt_outs.said_in(tags, tdm) is not None


def test_opt_outs_that_are_meant_for_us() -> None:
    for tag in (
        "noai", "NoImageAI", "noindex", "none", "noimageindex", "all, noai", "nofollow,noindex",
        "greenr_luigi: noindex", "greenr_luigi/0.2: noai", "GREENR_LUIGI: nofollow, none", "*: noai", "robots: noai",
        "otherbot: all, greenr_luigi: noai", "max-snippet: 5, noai", "unavailable_after: 25 Jun 2010 15:00:00 PST",
        "unavailable_after: Friday, 25-Jun-10 15:00:00 GMT", "unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, all",
        "unavailable_after: 2010-06-25", "unavailable_after: 2010-06-25T15:00:00+00:00",
        "greenr_luigi: unavailable_after: 25 Jun 2010 15:00:00 PST", "noai;noimageai", "all; noai",
        "noai noimageai", "all noai", "index  nofollow\tnoindex", "nofollow noai, all", "greenr_luigi: all noai",
        "otherbot: all greenr_luigi: noai", "noai otherbot: all", "max-snippet: 5 noai", "max-snippet:5 all, noai",
        "max-image-preview: large unavailable_after: 25 Jun 2010 15:00:00 PST", "*:nofollow noai",
        "unavailable_after: 2010-06-25T15:00:00Z", "unavailable_after: 2010-06-25T15:00:00z, all",
    ):  # fmt: skip
        assert said(tag), tag
    assert (
        said("all", "otherbot: noai", "noai")
        and said(tdm=["1"])
        and said(tdm=["1; policy=a"])
        and said("all", tdm=["0", " 1 "])
    )


def test_opt_outs_that_are_none_or_meant_for_others() -> None:
    for tag in (
        "", "all", "index, follow", "nofollow", "noarchive", "googlebot: noindex", "otherbot: nofollow, noai, none",
        "notnoai", "unavailable_after: 25 Jun 2999 15:00:00 GMT", "unavailable_after: soon", "unavailable_after:",
        "otherbot: all noai", "otherbot: noai max-snippet: 5 noai", "no ai", "max-snippet: 5 all", "other noai: all",
        "max-image-preview: none", "otherbot: unavailable_after: 25 Jun 2010 15:00:00 PST", ",,:,",
    ):  # fmt: skip
        assert not said(tag), tag
    assert not said(tdm=["0"]) and not said(tdm=[""]) and not said("googlebot: noai", tdm=["10"])


@pytest.mark.parametrize("header", [("X-Robots-Tag", "noai"), ("TDM-Reservation", "1")])
def test_a_picture_that_is_kept_from_models_is_left_unless_its_site_is_ours(
    internet: Internet, header: tuple[str, str], tmp_path: Path
) -> None:
    play(internet, (200, picture(1), [("X-Robots-Tag", "otherbot: noai"), header]))
    assert got() == "opt-out"
    assert got(1, download.session(Request("grass", "grass", root=tmp_path, opt_outs=False))) == picture(1)
    # A page of results is no picture.
    assert download.Session().get(ADDRESS.format(1)).content == picture(1)
    play(internet, (404, b"", [header]))
    assert got() == "http-404"


@pytest.mark.parametrize("header", [("X-Robots-Tag", "noai"), ("TDM-Reservation", "1")])
def test_an_answer_that_leads_on_keeps_the_picture_from_models_too(
    internet: Internet, header: tuple[str, str], tmp_path: Path
) -> None:
    play(internet, (302, b"", [("Location", "/2.jpg"), header]), picture(2))
    assert got() == "opt-out" and len(internet.asked) == 1
    play(internet, (302, b"", [("Location", "/2.jpg"), header]), picture(2))
    assert got(1, download.session(Request("grass", "grass", root=tmp_path, opt_outs=False))) == picture(2)
    play(internet, (302, b"", [("Location", "/2.jpg"), ("X-Robots-Tag", "otherbot: noai")]), picture(2))
    assert got() == picture(2)


def test_opt_outs_are_listed(internet: Internet, tmp_path: Path) -> None:
    alive = internet.hosts["pictures.example"]
    internet.hosts["pictures.example"] = lambda path, query: (
        (200, b"", [("X-Robots-Tag", "noindex")]) if path == "/3.jpg" else alive(path, query)
    )
    (tmp_path / "grass.txt").write_text("\n".join(map(ADDRESS.format, range(12))))
    (tmp_path / "out").mkdir()
    request = Request("grass", "grass", folder=tmp_path, root=tmp_path / "data")
    collect(registry.find("urls"), request, tmp_path / "out", {}, quiet)
    (refusal,) = read_jsonl(tmp_path / "out/rejected.jsonl", Refusal)
    assert (refusal.reason, refusal.file_url) == ("opt-out", ADDRESS.format(3))
    assert refusal.message == "grass.txt, line 4: its host keeps it from models: X-Robots-Tag: noindex"


def test_a_host_that_is_asked_too_often_is_left_alone_for_a_while_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "random", SimpleNamespace(uniform=lambda least, most: most))
    known = Hosts()
    for failures, pause in enumerate((2, 4, 8, 16, 16), 1):
        known._note("a.example", "http-429")
        left = known._hosts["a.example"].closed_until - time.monotonic()
        assert pause - 1 < left <= pause, failures
    known._note("a.example", "http-429", 20)
    known._note("a.example", "http-429", 1)
    assert known._hosts["a.example"].closed_until - time.monotonic() > 19
    known._note("b.example", "http-500")
    assert not known._hosts["b.example"].closed_until


def test_each_host_on_the_way_has_its_own_turn(internet: Internet) -> None:
    """One that leads on to itself waits for no place that it holds; where it leads is asked no more often for that."""
    slow = Slow(internet, "pictures.example")
    internet.hosts["www.bing.com"] = lambda path, query: (
        (302, b"", [("Location", f"https://pictures.example{path}")])
        if query
        else (302, b"", [("Location", f"{path}?again=1")])
    )
    session = download.Session(hosts=Hosts(a_second=4))
    session.hosts._places = Places(2, 0)
    with ThreadPoolExecutor(6) as pool:
        coming = [
            pool.submit(download.fetch, session, f"https://www.bing.com/{number}.jpg") for number in range(6)
        ]
        wait_for(lambda: slow.waiting == 2)
        slow.answers.set()
        assert [one.result() for one in coming] == [*map(picture, range(6))] and slow.most == 2
    assert len(internet.asked) == 18


def crawl(label: str, folder: Path) -> None:
    request = Request(label, label, folder=folder, root=folder / "data", per_host=12)
    (folder / f"out-{label}").mkdir()
    collect(registry.find("urls"), request, folder / f"out-{label}", {}, quiet)


@pytest.mark.slow
def test_two_runs_of_a_root_ask_a_host_no_more_often_than_one(internet: Internet, tmp_path: Path) -> None:
    slow, times = Slow(internet, "pictures.example"), list[float]()
    slow.answers.set()
    answer = internet.hosts["pictures.example"]
    internet.hosts["pictures.example"] = lambda path, query: (
        times.append(time.monotonic()),
        answer(path, query),
    )[1]
    (tmp_path / "data").mkdir()
    runs = []
    for label, first in (("grass", 0), ("moss", 30)):
        numbers = range(first, first + 30)
        (tmp_path / f"{label}.txt").write_text("\n".join(map(ADDRESS.format, numbers)))
        runs.append(multiprocessing.get_context("spawn").Process(target=crawl, args=(label, tmp_path)))
        runs[-1].start()
    for run in runs:
        run.join()
        assert run.exitcode == 0
    assert len(times) == 60 and slow.most <= 6
    # Six places are taken ten times, and each time for half a second; alone, each would need half of that.
    assert max(times) - min(times) > 4.3
