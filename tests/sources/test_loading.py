"""Loading side by side: no host holds up another, what has come is kept at once, and all that was asked for comes."""

from __future__ import annotations

import asyncio
import functools
import json
import multiprocessing
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi import background
from greenr_luigi.pictures import examine as looking
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import download, hosts, recrawl, registry
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.loading import Loader
from greenr_luigi.sources.pace import Places
from greenr_luigi.sources.source import AT_ONCE, Request
from greenr_luigi.sources.under_way import UnderWay
from tasks import DownloadImages
from tests.progress import quiet
from tests.sources.collecting import collect_from
from tests.sources.conftest import Answer, Internet, Query, picture
from tests.sources.test_search_engines import ENGINES, address


def wait_for(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_all_come_back_and_no_bound_is_passed(
    each: list[tuple[str, int]], most: int, most_of: int, room: int
) -> None:
    """Whatever takes long, and however many are known at a time."""
    lock, running, given_back = threading.Lock(), Counter[str](), list[int]()

    def load(number: int) -> int:
        host, takes = each[number]
        with lock:
            running[host] += 1
            assert running[host] <= most_of and running.total() <= most
        time.sleep(takes / 2000)
        with lock:
            running[host] -= 1
        return -number

    with ThreadPoolExecutor(12) as pool:
        left = deque(range(len(each)))
        under_way = UnderWay(
            functools.partial(pool.submit, load), lambda number: each[number][0], most, most_of
        )
        while under_way or left:
            while left and len(under_way) < room:
                under_way.start(left.popleft())
            for number, result in under_way.ended():
                assert result == -number
                given_back.append(number)
    assert sorted(given_back) == [*range(len(each))]


def test_each_host_has_its_turn() -> None:
    """Though all addresses of one come first."""
    began = list[str]()
    with ThreadPoolExecutor(1) as pool:
        hold = threading.Event()
        under_way = UnderWay[str, None](
            lambda name: pool.submit(lambda: (hold.wait(30), began.append(name), None)[2]), str, 2, 1
        )
        for name in "aaaabbc":
            under_way.start(name)
        hold.set()
        while under_way:
            under_way.ended()
    assert began[:5] == [*"abcab"] and Counter(began) == {"a": 4, "b": 2, "c": 1}


def test_a_fault_of_our_own_is_raised() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        under_way = UnderWay[int, float](lambda one: pool.submit(lambda: 1 / one), str, 2, 1)
        under_way.start(0)
        under_way.ended()


async def running_in() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_to_ask_goes_before_what_has_come_is_checked() -> None:
    loop = background.in_background(running_in()).result(60)
    hold, asked = threading.Event(), list[str]()
    loop.call_soon_threadsafe(hold.wait, 60)
    loop.call_soon_threadsafe(asked.append, "next")
    with Loader() as loader:
        checked = loader.begin(lambda: b"came", lambda given: (given(), [*asked]))
        assert wait([checked], 0.2).not_done
        hold.set()
        assert checked.result(60) == (b"came", ["next"])


@pytest.mark.slow
def test_what_waits_to_be_checked_holds_up_no_address(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, go, real = AT_ONCE + 100, threading.Event(), looking.examine
    monkeypatch.setattr(looking, "examine", lambda *of: (go.wait(60), real(*of))[1])
    (tmp_path / "grass.txt").write_text("\n".join(map(address, range(count))))
    with ThreadPoolExecutor(1) as running:
        collected = running.submit(
            collect_from, "urls", "grass", tmp_path / "out", 0, tmp_path, root=tmp_path / "data"
        )
        try:
            wait_for(lambda: len(internet.asked) == count)
            assert kept(tmp_path / "data") == 0
        finally:
            go.set()
        assert collected.result()["pictures"] == count


class Held:
    """Hosts whose pictures are held back from some on, until they are let go."""

    def __init__(self, internet: Internet) -> None:
        self.internet, self.go, self.lock = internet, threading.Event(), threading.Lock()
        self.answered = set[str]()

    def host(self, name: str, held: Callable[[str], bool]) -> None:
        def answer(path: str, query: Query) -> Answer:
            if held(path):
                self.go.wait(60)
            with self.lock:
                self.answered.add(path)
            return picture(int(path.strip("/").split(".")[0]))

        self.internet.hosts[name] = answer


def kept(root: Path) -> int:
    return len([*root.glob("collected/grass/*.jpg")])


@pytest.mark.slow
def test_a_slow_host_holds_up_no_other_however_many_of_its_addresses_come_first(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(internet)
    held.host("slow.example", lambda path: True)
    held.host("quick.example", lambda path: False)
    first = AT_ONCE + 20
    lines = [f"http://slow.example/{n}.jpg" for n in range(first)]
    lines += [f"http://quick.example/{n}.jpg" for n in range(first, first + 40)]
    (tmp_path / "grass.txt").write_text("\n".join(lines))
    (tmp_path / "out").mkdir()
    # Places, with no pause between two requests.
    monkeypatch.setattr(hosts, "Places", lambda many, seconds, shared: Places(many, 0, shared))
    monkeypatch.setattr(download, "Hosts", hosts.Hosts)
    request = Request("grass", "grass", folder=tmp_path, root=tmp_path / "data", per_host=8)
    with ThreadPoolExecutor(1) as running:
        collected = running.submit(collect, registry.find("urls"), request, tmp_path / "out", {}, quiet)
        try:
            wait_for(lambda: kept(request.root) == 40)
            assert len([url for url in internet.asked if "slow" in url]) == 4
        finally:
            held.go.set()
        assert collected.result()["pictures"] == first + 40
    assert len(internet.asked) == len({*internet.asked}) == first + 40


def crawl(source: str, root: Path, folder: Path) -> None:
    collect_from(source, "grass", folder / f"out-{source}", 200, folder, root=root)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["urls", "bing"])
def test_a_run_that_was_killed_is_gone_on_with(source: str, internet: Internet, tmp_path: Path) -> None:
    """At 60 %: the next one asks for the rest, and for no picture that had come."""
    held = Held(internet)
    held.host("pictures.example", lambda path: len(held.answered) >= 120)
    internet.hosts["www.bing.com"] = lambda path, query: ENGINES["bing"][1](
        range(int(query["first"]), min(int(query["first"]) + 20, 200))
    )
    (tmp_path / "grass.txt").write_text("\n".join(map(address, range(200))))
    root = tmp_path / "data"
    process = multiprocessing.get_context("spawn").Process(target=crawl, args=(source, root, tmp_path))
    process.start()
    wait_for(lambda: kept(root) >= 120)
    process.kill()
    process.join()
    had = kept(root)
    held.go.set()
    held.host("pictures.example", lambda path: False)
    internet.asked.clear()
    (tmp_path / f"out-{source}").rename(tmp_path / "killed")
    crawl(source, root, tmp_path)
    asked = [url for url in internet.asked if "pictures.example" in url]
    assert len(asked) == 200 - had and kept(root) == 200
    rows = read_jsonl(tmp_path / f"out-{source}" / MANIFEST, PictureRow)
    assert {row.file_url for row in rows} == {*map(address, range(200))}
    assert {row.engine for row in rows} == {source}


def faulty(count: int) -> list[int]:
    """Pictures of which three in ten are missing, no pictures, or too small."""
    bad = {3: 1000, 6: 2000, 9: 3000}
    return [bad.get(number % 10, 0) + number for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "limit"), [("bing", 500), *((name, 120) for name in ENGINES if name != "bing")]
)
def test_as_many_good_ones_as_asked_for_where_the_engine_has_them(
    name: str, limit: int, internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    host, page, number_of, _ = ENGINES[name]
    size = {"bing": 20, "google": 100, "baidu": 30, "flickr": 100}[name]
    # A thousand, the same number for two each: duplicates.
    has = [number % 1000 if number < 1000 else number for number in faulty(900)]

    def answer(path: str, query: Query) -> Answer:
        first = number_of(query) * size
        return page(has[first : first + size])

    internet.hosts[host] = answer
    assert collect_from(name, "grass", tmp_path / "out", limit)["pictures"] == limit
    refused = Counter(row.reason for row in read_jsonl(tmp_path / "out/rejected.jsonl", Refusal))
    assert min(refused["http-404"], refused["format"], refused["too-small"]) >= limit // 9
    # And no more of them are loaded than are needed.
    assert len([url for url in internet.asked if "pictures.example" in url]) == limit + refused.total()


def rejected(task: DownloadImages) -> dict[str, str]:
    rows = read_jsonl(task.output_folder / "rejected.jsonl", Refusal)
    return {str(row.file_url): f"{row.reason} {row.message}" for row in rows}


@pytest.mark.slow
def test_what_keeps_itself_from_models_is_not_asked_again_before_a_list_has_grown_old(
    internet: Internet, tmp_path: Path
) -> None:
    alive, tag = internet.hosts["pictures.example"], [("X-Robots-Tag", "noai")]
    internet.hosts["pictures.example"] = lambda path, query: (
        (200, picture(5), tag) if path == "/5.jpg" else alive(path, query)
    )
    file = tmp_path / "grass.txt"
    file.write_text("\n".join(map(address, range(14))))

    def run(**options: object) -> list[str]:
        internet.asked.clear()
        parameters = {"source": "urls", "folder": tmp_path, "limit": 0, "license": "", "refresh_days": 30}
        DownloadImages(root=tmp_path / "data", label="grass", **parameters | options).run()
        return internet.asked

    task = DownloadImages(root=tmp_path / "data", label="grass", source="urls", folder=tmp_path, limit=0)
    assert len(run()) == 14
    file.write_text("\n".join(["# mine", *map(address, range(15))]))
    assert run() == [address(14)]
    expected = "opt-out grass.txt, line 7: its host keeps it from models: X-Robots-Tag: noai"
    assert rejected(task) == {address(5): expected}
    assert run(force=("DownloadImages",)) == [address(5)]
    file.write_text("\n".join(map(address, range(15))))
    assert run(opt_outs=0) == [address(5)] and rejected(task) == {}


@pytest.mark.slow
def test_a_list_whose_hosts_are_busy_is_gone_on_with_the_next_day(internet: Internet, tmp_path: Path) -> None:
    busy: list[Answer] = [(429, b"", [("Retry-After", "3600")])]
    alive = internet.hosts["pictures.example"]
    internet.hosts["pictures.example"] = lambda path, query: (
        busy[0] if busy and len(internet.asked) > 12 else alive(path, query)
    )
    (tmp_path / "grass.txt").write_text("\n".join(map(address, range(30))))
    task = DownloadImages(
        root=tmp_path / "data", label="grass", source="urls", folder=tmp_path, limit=0, refresh_days=30
    )
    task.run()
    stamp = task.stamp()
    left = len(rejected(task))
    assert left >= 10 and stamp.summary["pictures"] == 30 - left and stamp.summary["retry"] == ["urls"]
    words = f"{left} pictures are left for another day, since their hosts are busy or do not answer"
    assert words in str(stamp.summary["warning"])
    assert task.complete()
    file = task.output_folder / "stamp.json"
    day = 3600 * (recrawl.RETRY_HOURS + 1)
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"finished": stamp.finished - day}))
    assert str(task.stale_because()).startswith("urls failed 21 hours ago")
    busy.clear()
    internet.asked.clear()
    task.run()
    assert len(internet.asked) == left and task.stamp().summary["pictures"] == 30
    assert "retry" not in task.stamp().summary and rejected(task) == {}
