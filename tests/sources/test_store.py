"""The store: what ever came from the web stays, whatever is asked for next."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi import cli
from greenr_luigi import files as store_files
from greenr_luigi.operations import usage
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal, read_jsonl
from greenr_luigi.sources import licenses, opened_store, registry, store
from greenr_luigi.sources.collection import collect
from greenr_luigi.sources.source import Candidate, Request, Source
from greenr_luigi.stage import StageError
from tasks import DownloadImages
from tests.progress import quiet
from tests.sources.conftest import Answer, Internet, Query, picture
from tests.sources.test_search_engines import address, bing_page, flickr_page

pytestmark = pytest.mark.slow


class Web:
    """A data root, and engines that show what they are told."""

    def __init__(self, root: Path, internet: Internet) -> None:
        self.root, self.internet = root, internet
        self.store = root / "collected" / "grass"

    def show(self, numbers: Sequence[int], host: str = "www.bing.com") -> None:
        page = {"www.bing.com": bing_page, "api.flickr.com": flickr_page}[host]

        def answer(path: str, query: Query) -> Answer:
            first = query.get("first") or str(int(query.get("page", 1)) - 1)
            return page(numbers if first == "0" else [])

        self.internet.hosts[host] = answer

    def task(self, **options: object) -> DownloadImages:
        parameters = {"source": "bing", "folder": None, "limit": 12, "license": "", "refresh_days": 30}
        return DownloadImages(root=self.root, **{"label": "grass"} | parameters | options)

    def run(self, **options: object) -> list[str]:
        """Collect, after a long time; the pictures' addresses that were asked for."""
        self.internet.asked.clear()
        task = self.task(**options)
        stamp = task.output_folder / "stamp.json"
        if stamp.exists():
            stamp.write_text(json.dumps(json.loads(stamp.read_bytes()) | {"summary": {"searched": 0}}))
        task.run()
        return [url for url in self.internet.asked if "pictures.example" in url]

    def rows(self, **options: object) -> list[PictureRow]:
        output = self.task(**options).output_folder
        rows = read_jsonl(output / "manifest.jsonl", PictureRow)
        assert all((output / row.file).stat().st_size == row.bytes for row in rows)
        return rows

    def used(self, **options: object) -> set[int]:
        return {int(Path(str(row.file_url)).stem) for row in self.rows(**options)}


@pytest.fixture
def web(internet: Internet, tmp_path: Path) -> Web:
    return Web(tmp_path / "data", internet)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(path: Path, data: bytes) -> None:
    """In place, as the system lets root."""
    path.chmod(0o644)
    path.write_bytes(data)


def test_nothing_is_lost_whatever_is_asked_for_next(web: Web, capsys: pytest.CaptureFixture[str]) -> None:
    for month in range(4):
        web.show(range(15 * month, 15 * month + 30))
        assert len(web.run(limit=30)) == (15 if month else 30)
    everything = set(range(75))
    assert web.used(limit=30) == everything
    web.show(range(400, 460))
    assert len(web.run(limit=60)) == 60
    everything |= set(range(400, 460))
    assert web.used(limit=60) == everything
    web.show(range(440, 470))
    assert len(web.run(limit=30, license="commercial")) == 10
    assert web.used(limit=30, license="commercial") == set(range(440, 470))
    web.show(range(460, 490))
    assert len(web.run(limit=30, query="lawn")) == 20
    everything |= set(range(460, 490))
    assert web.used(limit=30, query="lawn") == everything
    kept = files(web.store)
    for keep in ("1", "0"):
        assert cli.main(["--root", str(web.root), "prune", "--keep", keep]) == 0
    assert files(web.store) == kept and len(kept) == len(everything) + 1
    web.show(range(30))
    assert web.run(limit=20) == [] and web.used(limit=20) == everything
    assert cli.main(["--root", str(web.root), "usage"]) == 0
    assert "kept from the web  collected/grass" in capsys.readouterr().out


def test_a_licence_filters_what_is_used_and_not_what_is_kept(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "key")
    web.show(range(10), "api.flickr.com")
    web.show(range(10, 20))
    web.run(limit=10)
    web.run(limit=10, source="flickr")
    assert web.used(limit=10, source="flickr") == set(range(20))
    # Flickr's are CC BY, and Bing says of its own only that it was asked for such.
    web.show(range(19, 29))
    web.run(limit=10, license="commercial,modify")
    assert web.used(limit=10, license="commercial,modify") == {*range(10), *range(19, 29)}
    web.show(range(28, 38))
    assert len(web.run(limit=10, license="noncommercial")) == 9
    assert web.used(limit=10, license="noncommercial") == {*range(10), *range(19, 38)}
    assert len(web.run(limit=11)) == 0 and web.used(limit=11) == set(range(38))


@pytest.mark.parametrize("wanted", licenses.RIGHTS)
def test_what_licences_allow(wanted: str) -> None:
    allowed = {
        "CC0 1.0": set(licenses.RIGHTS),
        "Public domain": set(licenses.RIGHTS),
        "CC BY 2.0": set(licenses.RIGHTS) - {"publicdomain"},
        "CC BY-SA 4.0": set(licenses.RIGHTS) - {"publicdomain"},
        "CC BY-NC 2.0": {"noncommercial", "noncommercial,modify"},
        "CC BY-ND 2.0": {"noncommercial", "commercial"},
        "CC BY-NC-ND 4.0": {"noncommercial"},
        "All Rights Reserved": set(),
        "GFDL": set(),
        "": set(),
        "commercial": {"noncommercial", "commercial"},
        "publicdomain": set(licenses.RIGHTS),
    }
    for license, kinds in allowed.items():
        assert licenses.allows(license, wanted) == (wanted in kinds), license
    assert not licenses.allows(None, wanted)


STEP = st.tuples(
    st.sampled_from(["search", "list"]),
    st.sampled_from([None, "commercial", "publicdomain"]),
    st.lists(st.integers(0, 15), min_size=1, max_size=8, unique=True),
)


@settings(deadline=None, max_examples=20)
@given(st.lists(STEP, min_size=1, max_size=6))
def test_whatever_is_asked_for_in_whatever_order_all_is_kept_and_what_may_be_is_used(
    steps: list[tuple[str, str | None, list[int]]],
) -> None:
    loaded: list[int] = []
    #: By number, under which licences a search has shown it.
    shown: dict[int, set[str | None]] = {}

    def load(number: int) -> bytes:
        loaded.append(number)
        return picture(number)

    with tempfile.TemporaryDirectory() as root:
        for count, (kind, license, numbers) in enumerate(steps):
            listed = [Candidate(functools.partial(load, number), address(number)) for number in numbers]
            source = Source("x", "x", lambda request, listed=listed: iter(listed), is_list=kind == "list")
            request = Request("grass", "grass", len(numbers), root=Path(root), license=license)
            out = Path(root, f"out-{count}")
            out.mkdir()
            collect(source, request, out, {}, quiet)
            if kind == "search":
                for number in numbers:
                    shown.setdefault(number, set()).add(license)
                wanted = {n for n, asked in shown.items() if not license or asked & {license, "publicdomain"}}
            else:
                wanted = set(numbers)
            rows = read_jsonl(out / "manifest.jsonl", PictureRow)
            assert {row.file_url for row in rows} == {address(number) for number in wanted}
            assert all((out / row.file).stat().st_size == row.bytes for row in rows)
            assert len(loaded) == len(set(loaded)) == len([*Path(root, "collected/grass").glob("*.jpg")])


def test_the_same_store_and_answers_give_the_same_bytes(web: Web) -> None:
    web.show(range(12))
    web.run()
    web.show([*range(5, 12), 2001, 3, 12, 12])
    web.run(query="lawn")
    web.run(query="meadow")
    web.run(query="lawn")
    outputs = [web.task(query=query).output_folder for query in ("lawn", "meadow")]
    for name in ("manifest.jsonl", "rejected.jsonl"):
        assert (outputs[0] / name).read_bytes() == (outputs[1] / name).read_bytes()
    store = files(web.store)
    web.run(query="meadow")
    assert files(web.store) == store


def test_a_list_holds_what_stands_in_it_and_loads_nothing_twice(web: Web, tmp_path: Path) -> None:
    listed: dict[str, object] = {"source": "urls", "folder": tmp_path, "limit": 0}
    (tmp_path / "grass.txt").write_text("\n".join(map(address, range(12))))
    assert len(web.run(**listed)) == 12
    web.show(range(10, 22))
    assert len(web.run()) == 10
    assert web.used() == set(range(10, 22))
    (tmp_path / "grass.txt").write_text("\n".join(map(address, range(5, 16))))
    assert web.run(**listed) == [] and web.used(**listed) == set(range(5, 16))
    web.show(range(12))
    assert web.run() == [] and web.used() == set(range(22))


def test_another_address_of_the_same_picture_is_loaded_once(web: Web) -> None:
    web.show([*range(12), 50])
    alive = web.internet.hosts["pictures.example"]
    web.internet.hosts["pictures.example"] = lambda path, q: alive("/3.jpg" if path == "/50.jpg" else path, q)
    assert len(web.run(limit=13)) == 13 and len(web.rows(limit=13)) == 12
    assert web.run(limit=13) == [] and len(web.rows(limit=13)) == 12
    (refusal,) = read_jsonl(web.task(limit=13).output_folder / "rejected.jsonl", Refusal)
    assert (refusal.reason, refusal.file_url) == ("duplicate", address(50))


def test_an_old_data_root_is_taken_in(web: Web, tmp_path: Path) -> None:
    """One of a version that had no store: each output held what its own parameters had brought."""
    other = f"grass-{'0' * 12}"
    for numbers, options in (
        (range(12), {"limit": 12}),
        (range(20, 40), {"limit": 20, "query": "lawn", "license": "commercial"}),
        (range(50, 70), {"limit": 20, "label": other}),
    ):
        web.show(numbers)
        web.run(**options)
        shutil.rmtree(web.root / "collected")
    sample: dict[str, object] = {"source": "sample", "limit": 11}
    web.run(**sample)
    assert not (web.root / "collected").exists() and len(web.rows(**sample)) == 11
    (web.task(limit=20, query="lawn", license="commercial").output_folder / "stamp.json").rename(
        tmp_path / "stamp.json"
    )
    web.show(range(5, 17))
    assert len(web.run()) == 5
    assert web.used() == {*range(17), *range(20, 40)}
    assert len(files(web.store)) == 37 + 1
    shutil.rmtree(web.root / "collected")
    stamp = web.task(limit=20, query="lawn", license="commercial").output_folder / "stamp.json"
    stamp.write_bytes((tmp_path / "stamp.json").read_bytes())
    web.show(range(30, 45))
    assert len(web.run(limit=15, license="commercial")) == 5
    assert web.used(limit=15, license="commercial") == set(range(20, 45))
    assert {row.query for row in web.rows(limit=15, license="commercial")} == {"lawn", "grass"}


def test_pruning_an_old_data_root_keeps_what_came_from_the_web(web: Web) -> None:
    for numbers, options in ((range(12), {}), (range(20, 32), {"query": "lawn"})):
        web.show(numbers)
        web.run(**options)
        shutil.rmtree(web.root / "collected")
    web.run(source="sample", label="drawn")
    assert cli.main(["--root", str(web.root), "prune", "--keep", "0"]) == 0
    assert [path.name for path in (web.root / "collected").glob("[!.]*")] == ["grass"]
    web.show(range(30, 42))
    assert len(web.run(limit=12, query="meadow")) == 10
    assert web.used(limit=12, query="meadow") == {*range(12), *range(20, 42)}


@pytest.mark.parametrize("how", ["collected", "pruned", "pruned after earlier damage"])
def test_a_sound_copy_is_kept_and_never_a_damaged_one(web: Web, how: str) -> None:
    """Two outputs that hold copies, some emptied in the one and some in the other."""
    web.show(range(12))
    web.run()
    sound = files(web.store)
    del sound["origins.jsonl"]
    web.run(query="lawn")
    for number, query in enumerate(("", "lawn")):
        for position, path in enumerate(sorted(web.task(query=query).output_folder.glob("pictures/*"))):
            path.unlink()
            path.write_bytes(b"" if position % 3 == number else sound[path.name])
    if how == "pruned after earlier damage":
        for name in sound:
            edit(web.store / name, b"")
    else:
        shutil.rmtree(web.root / "collected")
    if how == "collected":
        assert web.run(query="meadow") == [] and web.used(query="meadow") == set(range(12))
    for _ in range(2):
        assert cli.main(["--root", str(web.root), "prune", "--keep", "0"]) == 0
        kept = files(web.store)
        assert kept.pop("origins.jsonl") and kept == sound
    assert web.run(query="turf") == [] and web.used(query="turf") == set(range(12))


def test_a_damaged_copy_that_is_the_only_one_is_not_taken_in(web: Web) -> None:
    web.show(range(12))
    web.run()
    shutil.rmtree(web.root / "collected")
    damaged = next(web.task().output_folder.glob("pictures/*"))
    edit(damaged, b"")
    assert len(web.run(query="lawn")) == 1
    assert web.used(query="lawn") == set(range(12))


@pytest.mark.parametrize("room", [0, 1, 7, 20])
def test_a_full_disk_parts_no_picture_from_its_line(
    web: Web, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is full after so many files; what is in the store is used, also if the web has no more of it."""
    count, write = 0, store_files.write

    def full(path: Path, data: bytes, read_back: bool = False) -> None:
        nonlocal count
        count += 1
        if count > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data, read_back)

    web.show(range(20))
    with monkeypatch.context() as patch:
        patch.setattr(store_files, "write", full)
        with contextlib.suppress(StageError):
            web.run(limit=20)
    there = {path.name for path in web.store.glob("*.jpg")}
    assert len(there) == min(room, 20)
    web.show(range(30, 42))
    assert len(web.run(limit=12)) == 12
    assert there <= {Path(row.file).name for row in web.rows(limit=12)}
    assert len(web.rows(limit=12)) == len(there) + 12
    lines = (web.store / "origins.jsonl").read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == len(there) + 12


def test_what_comes_later_says_so_though_a_clock_was_ahead(web: Web) -> None:
    web.show(range(12))
    web.run()
    log = web.store / "origins.jsonl"
    edit(log, re.sub(rb'"fetched":"\d{4}', b'"fetched":"2999', log.read_bytes()))
    web.show(range(13))
    web.run(limit=13)
    *before, last = sorted(str(row.fetched) for row in web.rows(limit=13))
    assert before[0][:4] == last[:4] == "2999" and last > before[-1]


def test_what_a_person_deleted_stays_away(web: Web) -> None:
    web.show(range(12))
    web.run()
    gone = web.rows()[0]
    (web.store / Path(gone.file).name).unlink()
    web.show([*range(12), 60])
    alive = web.internet.hosts["pictures.example"]
    number = Path(str(gone.file_url)).name
    web.internet.hosts["pictures.example"] = lambda path, q: alive(
        f"/{number}" if path == "/60.jpg" else path, q
    )
    assert web.run(limit=12) == [address(60)]
    assert gone.sha256 not in {row.sha256 for row in web.rows(limit=12)} and len(web.rows(limit=12)) == 11
    refused = read_jsonl(web.task(limit=12).output_folder / "rejected.jsonl", Refusal)
    assert {(r.reason, r.file_url) for r in refused} == {("deleted", gone.file_url), ("deleted", address(60))}
    assert str(web.store) in refused[0].message


@pytest.mark.parametrize("harm", ["picture edited", "line torn", "lines lost", "outputs and lines lost"])
def test_what_is_damaged_is_mended(web: Web, harm: str) -> None:
    web.show(range(12))
    web.run()
    before = web.rows()
    log = web.store / "origins.jsonl"
    if harm == "picture edited":
        edit(web.store / Path(before[0].file).name, picture(99))
    elif harm == "line torn":
        log.write_bytes(log.read_bytes()[:-20])
    else:
        log.unlink()
    if harm == "outputs and lines lost":
        shutil.rmtree(web.root / "DownloadImages")
    fetched = web.run(query="lawn")
    count = {"picture edited": 1, "outputs and lines lost": 12}.get(harm, 0)
    assert len(fetched) == count
    assert {row.sha256 for row in web.rows(query="lawn")} == {row.sha256 for row in before}
    assert web.run(limit=11) == []


def test_a_picture_may_not_be_written_to_and_one_that_was_is_not_taken_for_what_came(web: Web) -> None:
    web.show(range(12))
    web.run()
    first, second, *_ = sorted(web.store.glob("*.jpg"))
    assert {path.stat().st_mode & 0o222 for path in web.store.glob("*.jpg")} == {0}
    edited = {row.sha256: row for row in web.rows() if Path(row.file).name in (first.name, second.name)}
    for row in edited.values():
        edit(web.task().output_folder / row.file, b"edited")
    (listed, row), (_, lost) = edited.items()
    assert "was edited" in str(web.task().stale_because())
    web.show([int(Path(str(row.file_url)).stem), *range(20, 31)])
    assert len(web.run()) == 12
    assert listed in {row.sha256 for row in web.rows()} and len(web.rows()) == 22
    refused = read_jsonl(web.task().output_folder / "rejected.jsonl", Refusal)
    assert [(r.reason, r.file_url) for r in refused] == [("damaged", lost.file_url)]
    assert f"{Path(lost.file).name} was edited in {web.store}" in refused[0].message
    assert {path.stat().st_mode & 0o222 for path in web.store.glob("*.jpg")} == {0}


def test_a_picture_without_a_line_is_taken_in(web: Web) -> None:
    web.show(range(12))
    web.run()
    log, number = web.store / "origins.jsonl", 5
    shutil.rmtree(web.root / "DownloadImages")
    lines = log.read_bytes().splitlines(keepends=True)
    lost = json.loads(lines.pop(number))
    log.write_bytes(b"".join(lines))
    (web.store / f"{'0' * 16}.jpg").write_bytes(picture(3))
    (web.store / "mine.jpg").write_bytes(picture(4))
    web.show(range(20, 32))
    web.run()
    (row,) = [row for row in web.rows() if row.sha256 == lost["sha256"]]
    assert (row.engine, row.file_url, len(web.rows())) == ("unknown", None, 24)
    assert json.loads(log.read_bytes().splitlines()[11])["fetched"] >= lost["fetched"]
    web.run()
    assert len(log.read_bytes().splitlines()) == 24 and len(files(web.store)) == 24 + 3


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP])
def test_without_hard_links_there_are_copies(web: Web, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    web.show(range(12))
    web.run()
    shutil.rmtree(web.root / "collected")
    monkeypatch.setattr(os, "link", no_link)
    flushed, fsync = list[str](), os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: flushed.append(str(Path(f"/proc/self/fd/{fd}").readlink())) or fsync(fd)
    )
    assert web.run(query="lawn") == [] and web.used(query="lawn") == set(range(12))
    assert {path.stat().st_nlink for path in web.store.glob("*.jpg")} == {1}
    assert {str(path) for path in web.store.glob("*.jpg")} <= {*flushed}
    assert not [path for path in web.store.iterdir() if path.name.startswith(".")]


def test_hard_links_take_no_room(web: Web) -> None:
    web.show(range(12))
    web.run()
    assert {path.stat().st_nlink for path in web.store.glob("*.jpg")} == {2}
    rows = usage.usage(web.root)
    files = [
        path
        for path in web.root.rglob("*")
        if path.is_file() and path.name not in ("stamp.json", "data-root.json")
    ]
    on_disk = {path.stat().st_ino: path.stat().st_size for path in files if path.suffix != ".lock"}
    assert usage.room(web.root, rows) == sum(on_disk.values()) < sum(row["bytes"] for row in rows)


def crawl(root: Path, out: Path, query: str, limit: int) -> None:
    """In a process of its own."""
    out.mkdir()
    collect(registry.find("bing"), Request("grass", query, limit, root=root), out, {}, quiet)


@pytest.fixture
def start(web: Web, tmp_path: Path) -> Iterator[Callable[[str, int], Any]]:
    started = []

    def start(query: str, limit: int) -> Any:
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=crawl, args=(web.root, tmp_path / query, query, limit))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_lines_are_added_in_place_and_what_was_cut_short_is_adopted(tmp_path: Path) -> None:
    """A list of a million addresses would otherwise have the file of lines written whole for each 64 of them."""
    with opened_store.opened(tmp_path, "grass", {}, quiet_wait) as pictures:
        log, inodes = pictures.log, set()
        assert log is not None
        for number in range(4):
            data = picture(number)
            row = examine(data, "grass", "urls")
            pictures.add(store.Origin.of(row, file_url=address(number), fetched="2026-11-29T00:00:00+00:00"))
            pictures.put(row, data)
            pictures.flush()
            if number < 3:
                pictures.save()
                inodes.add(log.stat().st_ino)
        assert len(inodes) == 1
    whole = log.read_bytes()
    # The next save was cut short by a power cut.
    log.write_bytes(whole + log.with_name(store.UNSAVED).read_bytes()[:50])
    with opened_store.opened(tmp_path, "grass", {}, quiet_wait) as pictures:
        assert {origin.file_url for origin in pictures.origins} == {*map(address, range(4))}
        assert log.read_bytes().startswith(whole) and len(pictures.pictures) == 4


def quiet_wait(_: str) -> None:
    pass


def test_only_what_a_killed_write_left_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "collected" / "grass"
    hex32 = "0123456789abcdef" * 2
    theirs = [folder / f".{hex32[:16]}.jpg-1-2", folder / f".notes.{hex32}", tmp_path / "picture"]
    folders = [folder / ".origins.jsonl-1-2", folder / f".origins.jsonl.{hex32}"]
    link, left = folder / f".{hex32[:16]}.jpg.{hex32}", folder / f".{hex32[:16]}.png.{hex32}"
    for path in folders:
        path.mkdir(parents=True)
    for path in (*theirs, left):
        path.write_text("mine")
    link.symlink_to(tmp_path / "picture")
    with opened_store.opened(tmp_path, "grass", {}, quiet):
        assert set(folder.iterdir()) == {*theirs[:2], *folders, link}


def test_a_killed_run_loses_nothing_and_leaves_nothing(web: Web, start: Callable[[str, int], Any]) -> None:
    web.show(range(100))
    alive, far, go_on = web.internet.hosts["pictures.example"], threading.Event(), threading.Event()

    def slow(path: str, query: Query) -> Answer:
        if path == "/80.jpg":
            far.set()
            go_on.wait(60)
        return alive(path, query)

    web.internet.hosts["pictures.example"] = slow
    process = start("lawn", 100)
    assert far.wait(60)
    deadline = time.monotonic() + 60
    while len([*web.store.glob("[0-9a-f]*.jpg")]) < 99:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    go_on.set()
    assert process.exitcode == -signal.SIGKILL
    (web.store / f".{'0' * 16}.jpg.{'0' * 32}").write_bytes(b"half")
    (web.store / ".notes-1-2").write_text("a person's")
    fetched = web.run(limit=100)
    # What was under way.
    assert fetched == [address(80)] and web.used(limit=100) == set(range(100))
    hidden = {path.name for path in web.store.iterdir() if path.name.startswith(".")}
    assert hidden == {".notes-1-2"}


def test_runs_at_once_are_safe_and_load_nothing_twice(web: Web, start: Callable[[str, int], Any]) -> None:
    web.show(range(40))
    processes = [start(query, 20 + number) for number, query in enumerate(("lawn", "meadow", "turf"))]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    pictures = [url for url in web.internet.asked if "pictures.example" in url]
    assert len(pictures) == len(set(pictures))
    assert web.run(limit=12) == []
    assert web.used() == {int(Path(url).stem) for url in pictures}
