"""A long list is fetched and checked in parts, and comes out as if it had been fetched at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import luigi
import pytest

from greenr_luigi import run_history
from greenr_luigi.operations.prune import prune
from greenr_luigi.pictures.manifest import REJECTED, Refusal, read_jsonl
from greenr_luigi.sources import checking, collected, fetched
from greenr_luigi.staleness import data_root
from greenr_luigi.staleness.stage import Stage, forget
from tasks import DownloadImages
from tests.sources.conftest import Internet

pytestmark = pytest.mark.slow

URL = "https://pictures.example/{}.jpg"
#: Pictures, some under two addresses; none (1001, 2001), too small (3001), twice in the list, no address.
LINES = [
    *map(URL.format, [*range(20), 1001, 2001, 3001, 4, 1002]),
    "https://pictures.example/5.jpeg",
    "ftp://pictures.example/1.jpg",
    *map(URL.format, range(20, 30)),
    "https://pictures.example/25.jpeg",
]


def kinds(titles: list[str]) -> list[str]:
    """Without the class, and without the number of a part."""
    return [title.partition("(")[0] for title in titles]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder with one list."""
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists", LINES)
    return tmp_path / "lists"


def write(lists: Path, lines: list[str]) -> None:
    (lists / "grass.txt").write_text("\n".join(lines))


def download(root: Path, lists: Path, shard_size: int = 10, **options: object) -> DownloadImages:
    parameters = {"source": "urls", "folder": lists, "limit": 0, "license": "", "refresh_days": 30}
    forget()
    # As a run of its own, which knows nothing of those before it.
    DownloadImages.clear_instance_cache()
    return DownloadImages(root=root, label="grass", shard_size=shard_size, **parameters | options)


def run(task: Stage) -> bool:
    return bool(luigi.build([task], local_scheduler=True, log_level="WARNING"))


def made(task: DownloadImages) -> dict[str, bytes]:
    """All that a class and its store hold after a run, but for the times at which pictures came."""
    assert run(task)
    store = collected.folder(Path(task.root), task.label)
    files = [*task.output_folder.rglob("*"), *store.rglob("*")]
    assert not [*store.glob(".fetched/*"), *store.glob(".unsaved*")]
    held = {
        f"{path.parent.name}/{path.name}": re.sub(rb'"fetched": ?"[^"]*"', b"", path.read_bytes())
        for path in files
        if path.is_file() and path.name != "stamp.json"
    }
    # In the order in which they came.
    origins = f"grass/{collected.ORIGINS}"
    return held | {origins: b"\n".join(sorted(held[origins].splitlines()))}


@pytest.mark.parametrize("limit", [0, 12, 24])
def test_the_same_bytes_in_parts_as_at_once_and_the_same_fetched(
    internet: Internet, tmp_path: Path, lists: Path, limit: int
) -> None:
    whole = download(tmp_path / "one", lists, 1000, limit=limit)
    assert whole.requires() == []
    at_once, asked = made(whole), sorted(internet.asked)
    internet.asked.clear()
    parts = download(tmp_path / "many", lists, limit=limit)
    assert len(parts.requires()) == (2 if limit == 12 else 4)
    assert made(parts) == at_once and len(at_once) > 25
    assert sorted(internet.asked) == asked and len({*asked}) == len(asked)
    assert (b"duplicate" in (parts.output_folder / REJECTED).read_bytes()) == (limit != 12)


def test_a_part_of_what_a_limit_takes_is_refused_and_the_rest_of_the_list_stands_in(
    internet: Internet, tmp_path: Path, lists: Path
) -> None:
    write(lists, list(map(URL.format, [*range(1001, 1009), *range(30)])))
    task = download(tmp_path, lists, limit=12)
    assert len(task.requires()) == 2 and made(task)
    assert task.stamp().summary["pictures"] == 12 and len(internet.asked) == 20


def test_one_more_line_concerns_one_part_and_has_it_fetched_alone(
    internet: Internet, tmp_path: Path, lists: Path, ran: list[str]
) -> None:
    made(download(tmp_path, lists))
    # In the history stands what is for people.
    assert {name for event in run_history.read(tmp_path) for name in event.summary} == {
        "pictures",
        "new",
        "refused",
    }
    task = download(tmp_path, lists)
    ran.clear()
    internet.asked.clear()
    assert made(task) and not ran and not internet.asked
    write(lists, [*LINES[:7], URL.format(99), *LINES[7:]])
    task = download(tmp_path, lists)
    assert "its part of the list changed" in str(task.stale_because())
    parts = made(task)
    assert kinds(ran) == ["PictureShard", "DownloadImages"]
    # And what that part had not got.
    assert URL.format(99) in internet.asked and not {*map(URL.format, range(30))}.intersection(internet.asked)
    assert len(internet.asked) < 5
    ran.clear()
    assert download(tmp_path, lists).stale_because() is None
    assert parts == made(download(tmp_path / "one", lists, 1000))


def test_lines_that_moved_are_told_as_they_are_now_and_nothing_is_fetched(
    internet: Internet, tmp_path: Path, lists: Path, ran: list[str]
) -> None:
    made(download(tmp_path, lists))
    ran.clear()
    internet.asked.clear()
    write(lists, ["# ours", *LINES])
    task = download(tmp_path, lists)
    assert made(task) and kinds(ran) == ["DownloadImages"] and not internet.asked
    places = {row.file_url: row.message for row in read_jsonl(task.output_folder / REJECTED, Refusal)}
    assert places[URL.format(1001)].startswith(f"grass.txt, line {2 + LINES.index(URL.format(1001))}: ")


def test_of_one_list_for_all_classes_other_classes_lines_concern_no_part(
    internet: Internet, tmp_path: Path, ran: list[str]
) -> None:
    path, lines = tmp_path / "all.csv", ["label,url", *(f"grass,{line}" for line in LINES)]
    path.write_text("\n".join(lines))
    first = made(download(tmp_path / "data", path))
    ran.clear()
    internet.asked.clear()
    path.write_text("\n".join([*lines, f"moss,{URL.format(99)}"]))
    assert made(download(tmp_path / "data", path)) == first
    assert kinds(ran) == ["DownloadImages"] and not internet.asked


def test_a_list_that_is_gone_or_is_none_is_said_by_the_class(tmp_path: Path, lists: Path) -> None:
    (lists / "grass.txt").write_bytes(b"https://pictures.example/\xff\n" * 50)
    assert download(tmp_path, lists).requires() == []
    (lists / "grass.txt").unlink()
    assert download(tmp_path, lists).requires() == []


def offline(net: Internet) -> Callable[[], None]:
    """Have each host out of order; returns what brings them back."""
    hosts = dict(net.hosts)
    for name in hosts:
        net.hosts[name] = lambda path, query: (500, b"")
    return lambda: net.hosts.update(hosts)


def test_what_did_not_answer_is_asked_again_where_the_class_failed_for_it(
    internet: Internet, tmp_path: Path, lists: Path, ran: list[str]
) -> None:
    back = offline(internet)
    assert not run(download(tmp_path, lists))
    assert kinds(ran) == ["PictureShard"] * 4 and {*map(URL.format, range(30))}.issubset(internet.asked)
    back()
    ran.clear()
    task = download(tmp_path, lists)
    Stage.build_began = time.time()
    causes = {str(part.stale_because()) for part in task.requires()}
    assert all(
        cause.startswith("the class has not been collected since addresses did not answer: ")
        for cause in causes
    )
    assert made(task) == made(download(tmp_path / "one", lists, 1000))
    assert kinds(ran).count("PictureShard") == 4
    assert download(tmp_path, lists).stale_because() is None


def test_what_did_not_answer_fails_no_class_that_has_pictures_enough_and_is_asked_again_when_it_is_time(
    internet: Internet, tmp_path: Path, lists: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a busy host wants later the next day, anything else when the list has grown old."""
    alive, now = internet.hosts["pictures.example"], time.time
    down = {"/3.jpg": 500, "/7.jpg": 500, "/22.jpg": 429}
    internet.hosts["pictures.example"] = lambda path, query: (
        (down[path], b"") if path in down else alive(path, query)
    )

    def pass_by(hours: int) -> None:
        monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
        Stage.build_began = time.time()
        internet.asked.clear()
        ran.clear()

    def asked() -> set[str]:
        return {path for path in down if f"https://pictures.example{path}" in internet.asked}

    assert made(download(tmp_path, lists))
    internet.hosts["pictures.example"] = alive
    pass_by(10)
    assert made(download(tmp_path, lists)) and not ran and not internet.asked
    pass_by(25)
    task = download(tmp_path, lists)
    assert "addresses left 25 hours ago, since hosts were busy or away: 1" in str(task.stale_because())
    assert made(task) and kinds(ran) == ["PictureShard", "DownloadImages"]
    assert "/22.jpg" in asked() and task.stamp().summary["pictures"] >= 28
    left = {"/3.jpg", "/7.jpg"} - asked()
    pass_by(31 * 24)
    task = download(tmp_path, lists)
    assert "collected 31 days ago, refresh_days is 30" in str(task.stale_because())
    assert made(task) and asked() == left and task.stamp().summary["pictures"] == 30


def test_new_code_fetches_nothing_and_force_only_what_is_not_there(
    internet: Internet, tmp_path: Path, lists: Path, ran: list[str]
) -> None:
    first = made(download(tmp_path, lists))
    internet.asked.clear()
    ran.clear()
    for path in tmp_path.glob("*/*/stamp.json"):
        path.write_text(re.sub(r'(?i)"pillow": "[^"]+"', '"pillow": "1.0"', path.read_text()))
    task = download(tmp_path, lists)
    assert "version of" in str(task.stale_because()) and made(task) == first
    assert len(ran) == 5 and not internet.asked
    made(download(tmp_path, lists, force=("DownloadImages",)))
    assert sorted(internet.asked) == sorted(line for line in LINES if re.search(r"/\d{4}", line))


def test_what_a_person_deleted_stays_away_and_what_was_damaged_comes_again(
    internet: Internet, tmp_path: Path, lists: Path
) -> None:
    task = download(tmp_path, lists)
    made(task)
    store = collected.folder(tmp_path, "grass")
    gone, damaged, *_ = sorted(store.glob("*.jpg"))
    gone.unlink()
    damaged.chmod(0o600)
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    internet.asked.clear()
    made(task := download(tmp_path, lists, force=("DownloadImages",)))
    assert task.stamp().summary["pictures"] == 29
    refused = {row.reason for row in read_jsonl(task.output_folder / REJECTED, Refusal)}
    assert "deleted" in refused and "damaged" not in refused
    assert len([url for url in internet.asked if not re.search(r"/\d{4}", url)]) == 1


def test_pictures_of_parts_that_got_lost_meanwhile_are_fetched_again_and_others_not(
    internet: Internet, tmp_path: Path, lists: Path
) -> None:
    task = download(tmp_path, lists)
    for part in task.requires():
        assert run(part)
    spooled = sorted(collected.folder(tmp_path, "grass").glob(".fetched/*"))
    assert len(spooled) == 32
    spooled[0].write_bytes(b"damaged")
    spooled[1].unlink()
    internet.asked.clear()
    assert made(task) == made(download(tmp_path / "one", lists, 1000))
    assert len(internet.asked) >= 2


def test_a_part_that_was_cut_short_fetches_the_rest(
    internet: Internet, tmp_path: Path, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_all = checking.check_all

    def cut_short(named, under_way, *more):  # type: ignore[no-untyped-def]
        for one in named[: len(named) // 2]:
            under_way.start(one)
        while under_way:
            under_way.ended()
        raise MemoryError

    monkeypatch.setattr(checking, "check_all", cut_short)
    assert not run(download(tmp_path, lists))
    monkeypatch.setattr(checking, "check_all", check_all)
    half = {*internet.asked}
    internet.asked.clear()
    made(download(tmp_path, lists))
    usable = {URL.format(n) for n in range(30)}
    assert half & usable and not half & usable & {*internet.asked}


def test_what_killed_runs_left_half_written_goes_with_prune_and_pictures_stay(tmp_path: Path) -> None:
    data_root.mark(tmp_path)
    spool = tmp_path / "collected" / "grass" / fetched.FOLDER
    spool.mkdir(parents=True)
    left, whole, theirs = spool / f".{'a' * 32}.{'b' * 32}", spool / ("c" * 32), spool / ".mine"
    for path in (left, whole, theirs):
        path.touch()
    prune(tmp_path, 0)
    assert sorted(spool.iterdir()) == [theirs, whole]
