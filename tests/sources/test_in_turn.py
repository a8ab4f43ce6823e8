"""Search engines that are asked in turn, and that may fail: what is there stays, and they are asked the next day."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Sequence
from pathlib import Path

import luigi
import pytest

from greenr_luigi import cli, run_history
from greenr_luigi.operations import status
from greenr_luigi.pictures.manifest import PictureRow, read_jsonl
from greenr_luigi.sources import download, registry, standing_in
from greenr_luigi.sources.source import Request, Source, SourceError
from greenr_luigi.staleness.stage import Stage
from greenr_luigi.staleness.telling import logger
from tasks import DownloadImages
from tests.sources.conftest import Answer, Internet, picture
from tests.sources.test_commons import commons_page, openverse_pages
from tests.sources.test_search_engines import bing_page

DEAD: Answer = (429, b"slow down")
#: A page that is no longer understood, and one that looks as if there were nothing.
GARBAGE: Answer = b"<html>Please enable JavaScript</html>"
HOSTS = {"openverse": "api.openverse.org", "bing": "www.bing.com", "commons": "commons.wikimedia.org"}
LIST = "openverse,commons,bing"


class Root:
    """DownloadImages in a data root of its own; engines show pictures of these numbers, or answer so."""

    def __init__(self, root: Path, internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.internet, self.patch = root, internet, monkeypatch
        self.time, self.days = time.time, 0.0
        self.later(0)
        # What passes is not waited for.
        monkeypatch.setattr(download, "RETRIES", 0)
        upload, pictures = "upload.wikimedia.org", internet.hosts["pictures.example"]
        internet.hosts[upload] = lambda path, query: pictures(path.replace("/thumb", ""), query)

    def show(self, **engines: Sequence[int] | Answer) -> None:
        for name, shown in engines.items():
            if isinstance(shown, bytes | tuple):
                pages = [shown]
            elif name == "openverse":
                pages = [openverse_pages([list(shown)])[1], b'{"results": []}']
            elif name == "commons":
                pages = [commons_page(list(shown)), b'{"batchcomplete": ""}']
            else:
                pages = [bing_page(shown), bing_page([])]
            self.internet.hosts[HOSTS[name]] = lambda path, query, pages=pages: pages[
                0
                if {query.get("page", "1"), query.get("first", "0"), query.get("gsroffset", "0")}
                <= {"0", "1"}
                else -1
            ]

    def task(self, label: str = "grass", source: str = LIST, **options: object) -> DownloadImages:
        parameters = {"folder": None, "limit": 12, "license": "", "refresh_days": 30, "query": ""}
        return DownloadImages(root=self.root, label=label, source=source, **parameters | options)

    def run(self, *args: str, **options: object) -> list[str]:
        """The engines that a run asked, in their order."""
        self.internet.asked.clear()
        self.task(*args, **options).run()
        asked = [name for url in self.internet.asked for name, host in HOSTS.items() if f"//{host}/" in url]
        return [*dict.fromkeys(asked)]

    def later(self, days: float) -> None:
        """A build begins, so many days after the one before."""
        self.days += days
        self.patch.setattr(time, "time", lambda: self.time() + self.days * 86400)
        self.patch.setattr(Stage, "build_began", time.time())

    def engines(self, *args: str, **options: object) -> dict[str, int]:
        rows = read_jsonl(self.task(*args, **options).output_folder / "manifest.jsonl", PictureRow)
        return {name: [row.engine for row in rows].count(name) for name in {row.engine for row in rows}}


@pytest.fixture
def root(tmp_path: Path, internet: Internet, monkeypatch: pytest.MonkeyPatch) -> Root:
    return Root(tmp_path / "data", internet, monkeypatch)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What stages warned of."""
    lines: list[str] = []
    monkeypatch.setattr(logger, "warning", lambda words, *args: lines.append(words % args))
    return lines


def test_the_next_is_asked_for_what_is_missing(root: Root) -> None:
    root.show(openverse=range(5), commons=range(3, 10), bing=range(10, 40))
    assert root.run() == ["openverse", "commons", "bing"]
    assert root.engines() == {"openverse": 5, "commons": 5, "bing": 2}
    summary = root.task().stamp().summary
    assert (summary["pictures"], summary["sources"]) == (12, {"openverse": 5, "commons": 5, "bing": 2})
    assert "warning" not in summary
    # Who brings enough leaves nothing to the others.
    root.show(openverse=range(100, 130))
    assert root.run("moss") == ["openverse"] and "sources" not in root.task("moss").stamp().summary


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("bing,folder", "name 'folder' alone"),
        ("urls,bing", "name 'urls' alone"),
        ("sample,bing", "name 'sample' behind all others"),
        ("bing,feedback,sample", "name 'feedback' alone"),
        ("bing,opnverse", "did you mean openverse"),
        ("", "there is no source"),
        (",", "there is no source"),
    ],
)
def test_what_does_not_go_together_is_refused(source: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        registry.find(source)


def test_a_licence_is_asked_of_each_or_of_none(tmp_path: Path) -> None:
    request = Request("grass", "grass", 1, license="commercial", root=tmp_path)
    with pytest.raises(SourceError, match="'baidu' cannot filter"):
        registry.find("openverse,baidu,bing").check(request)
    registry.find("openverse,commons,bing,sample").check(request)


def test_the_same_list_by_other_words(root: Root) -> None:
    assert root.task(source=" openverse, commons,bing,openverse,").source == LIST
    assert root.task(limit=200).output_folder == root.task(limit=0).output_folder


@pytest.mark.parametrize(
    ("failing", "answer"),
    [(LIST, DEAD), (LIST, GARBAGE), (LIST, (200, b"")), (LIST, range(3000, 3012)), ("bing", GARBAGE)],
    ids=["busy", "page", "empty", "useless", "one"],
)
def test_a_search_that_fails_keeps_what_is_there(
    root: Root, failing: str, answer: Answer, said: list[str]
) -> None:
    root.show(openverse=[*range(6), 1001], commons=range(6, 9), bing=range(9, 16))
    root.run()
    made = root.task().stamp()
    root.later(31)
    root.show(**dict.fromkeys(failing.split(","), answer))
    assert luigi.build([root.task()], local_scheduler=True, log_level="WARNING")
    stamp = root.task().stamp()
    # Nothing that follows runs, as no byte differs.
    if not isinstance(answer, range):
        assert stamp.digest == made.digest
    assert (stamp.summary["pictures"], stamp.summary["new"]) == (12, 0)
    assert stamp.summary["retry"] == failing.split(",")
    for name in failing.split(","):
        assert f"{name} brought nothing: " in stamp.summary["warning"]
    assert f"DownloadImages(grass): {failing.split(',')[0]} brought nothing" in "".join(said)


@pytest.mark.slow
def test_who_failed_is_asked_the_next_day_and_the_others_are_not(root: Root) -> None:
    root.show(openverse=DEAD, commons=range(8), bing=range(8, 20))
    assert root.run() == ["openverse", "commons", "bing"]
    root.later(0.5)
    assert root.task().stale_because() is None
    root.later(0.4)
    assert root.task().stale_because() == "openverse failed 22 hours ago"
    # New code examines what is at hand only while nobody is to be asked.
    root.show(bing=range(30, 50))
    assert root.run() == ["openverse"] and root.task().stale_because() is None
    assert root.engines() == {"commons": 8, "bing": 4}
    root.later(1)
    root.show(openverse=[*range(20, 24), 1001])
    assert root.run() == ["openverse"]
    assert root.engines() == {"openverse": 4, "commons": 8, "bing": 4}
    stamp = root.task().stamp()
    assert "warning" not in stamp.summary and stamp.summary["refused"] == 1
    # The month counts from when all were asked.
    root.later(27.8)
    assert root.task().stale_because() is None
    root.later(1.2)
    assert root.task().stale_because() == "collected 31 days ago, refresh_days is 30"
    assert root.run() == ["openverse", "commons"]


@pytest.mark.parametrize("days", [30, 1])
def test_a_search_is_old_at_the_minute_of_the_day_at_which_it_was_made(root: Root, days: int) -> None:
    root.show(openverse=range(12))
    root.run(refresh_days=days)
    hour = 1 / 24
    # A day before, an hour too late.
    root.later(days - 23 * hour)
    assert root.task(refresh_days=days).complete()
    # The search took an hour, and clocks were put forward.
    root.later(21 * hour)
    assert f"refresh_days is {days}" in str(root.task(refresh_days=days).stale_because())


def test_with_no_days_each_build_searches_once(root: Root) -> None:
    root.show(openverse=range(12))
    root.run(refresh_days=0)
    assert root.task(refresh_days=0).complete()
    root.later(0.001)
    assert root.task(refresh_days=0).stale_because() == "collected 0 days ago, refresh_days is 0"


def test_only_a_class_without_enough_pictures_fails(root: Root) -> None:
    root.show(openverse=range(9), commons=DEAD, bing=GARBAGE)
    with pytest.raises(
        SourceError, match=r"brought 9 pictures.* at least 10 .*commons brought nothing.*bing brought"
    ) as e:
        root.run()
    assert e.value.passing
    others = "inaturalist, flickr, google, baidu"
    assert f" Try another query, another source (--source {others}), or your own pictures in --folder" in str(
        e.value
    )
    root.show(commons=range(8, 10))
    root.run()
    root.show(openverse=DEAD, commons=DEAD)
    root.run(query="lawn")
    assert len(root.task(query="lawn").stamp().summary["retry"]) == 3 and root.engines(query="lawn")


def test_other_sources_are_named_as_the_registry_has_them(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that can be asked the same: one of a person's own among them, and of a licence those that know of it."""
    monkeypatch.setattr(registry, "SOURCES", {**registry.SOURCES, "archive": "archive"})
    engine = Source("archive", "our archive", lambda request: iter(()))
    monkeypatch.setitem(sys.modules, "archive", types.SimpleNamespace(SOURCE=engine))
    root.show(bing=range(3))
    with pytest.raises(
        SourceError, match=r"\(--source openverse, commons, .*, baidu, archive\), or your own"
    ):
        root.run(source="bing")
    with pytest.raises(
        SourceError, match=r"\(--source openverse, commons, .*, google, archive\), or ask for none"
    ):
        root.run(source="baidu", license="commercial")


def test_new_code_asks_nobody_and_forgets_no_failure(root: Root) -> None:
    root.show(openverse=DEAD, commons=range(8), bing=range(8, 20))
    root.run()
    made = root.task().stamp()
    stamp = root.task().output_folder / "stamp.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"libraries": {"pillow": "1"}}))
    assert root.run() == []
    again = root.task().stamp()
    assert again.summary == {**made.summary, "new": 0, "searched": made.finished}
    assert again.digest == made.digest


def test_a_changed_default_asks_nobody_for_what_is_young(root: Root) -> None:
    assert root.task().source == LIST == root.task(source="").source
    root.show(openverse=range(20), commons=range(20), bing=range(12))
    root.run(source="bing")
    made = root.task(source="bing").stamp()
    assert root.task(source="bing").complete()
    root.later(20)
    assert root.task().stale_because() == f"parameter source: bing -> {LIST}"
    assert root.run() == [] and root.engines() == {"bing": 12}
    assert root.task().stamp().digest == made.digest
    root.later(11)
    assert root.task().stale_because() == "collected 31 days ago, refresh_days is 30"
    assert root.run() == ["openverse"]
    # Who names others has them asked.
    assert root.run(source="openverse,bing") == ["openverse"]
    assert root.run(limit=13) == ["openverse"]


DRAWING = f"{LIST},sample"


def no_network(root: Root, *names: str) -> None:
    for name in names or HOSTS:
        root.internet.hosts.pop(HOSTS[name], None)


@pytest.mark.slow
def test_where_no_network_answers_all_classes_are_drawn_and_it_is_said(root: Root, said: list[str]) -> None:
    no_network(root)
    tasks = [root.task(label, DRAWING) for label in ("grass", "moss")]
    assert luigi.build(tasks, local_scheduler=True, log_level="WARNING")
    assert "DownloadImages(grass): DRAWN, not photographed: no network answered" in "".join(said)
    assert all(root.engines(task.label, DRAWING) == {"sample": 12} for task in tasks)
    made = tasks[0].stamp()
    root.later(1)
    assert tasks[0].stale_because() == "openverse and commons and bing failed 24 hours ago"
    assert luigi.build(tasks, local_scheduler=True, log_level="WARNING")
    assert tasks[0].stamp().digest == made.digest
    # Once there is a network, there are photographs; and never drawings again.
    root.show(openverse=range(12))
    root.later(1)
    assert root.run("grass", DRAWING) == ["openverse"]
    assert (
        root.engines("grass", DRAWING) == {"openverse": 12}
        and "drawn" not in root.task("grass", DRAWING).stamp().summary
    )
    assert str(tasks[1].stale_because()).startswith("it is drawn")
    with pytest.raises(SourceError, match="drawn, since no network answered: DownloadImages") as error:
        standing_in.require_all_drawn_or_none([task.stamp() for task in tasks])
    assert error.value.passing
    no_network(root)
    with pytest.raises(
        SourceError, match="sample stands in only where no network answers and no class has pictures"
    ):
        root.run("moss", DRAWING)
    root.later(31)
    root.run("grass", DRAWING)
    assert root.engines("grass", DRAWING) == {"openverse": 12}


@pytest.mark.slow
def test_a_network_that_swallows_everything_is_given_up_within_seconds(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_in, "SECONDS", 0.05)
    ends = threading.Event()
    for host in HOSTS.values():
        root.internet.hosts[host] = lambda path, query: (ends.wait(60), b"")[1]
    try:
        began = root.task().build_began
        root.run("grass", DRAWING)
        asked = len(root.internet.asked)
        # Another class in the same run does not wait at all.
        root.run("moss", DRAWING)
        assert root.internet.asked == [] and asked and began == root.task().build_began
    finally:
        ends.set()
    assert root.engines("grass", DRAWING) == root.engines("moss", DRAWING) == {"sample": 12}


def test_whether_a_drawn_class_is_due_is_told_without_anything_heavy(tmp_path: Path) -> None:
    """It is asked in each run, also in one that has nothing to do."""
    code = (
        "import sys, pathlib\n"
        "from greenr_luigi.sources import recrawl\n"
        "assert not recrawl.standing_in.has_photographs(pathlib.Path(), [], 'sample')\n"
        "assert not {'PIL', 'numpy', 'aiohttp'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_an_engine_that_is_not_set_up_fails_no_class_that_has_pictures(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under cron, which has not the variable that holds the key."""
    monkeypatch.delenv("FLICKR_APIKEY", raising=False)
    root.show(bing=range(12))
    root.run(source="flickr,bing")
    assert "FLICKR_APIKEY" in root.task(source="flickr,bing").stamp().summary["warning"]
    no_network(root)
    with pytest.raises(SourceError, match="FLICKR_APIKEY") as error:
        root.run("moss", "flickr")
    assert not error.value.passing


def test_without_being_named_nothing_is_drawn_and_a_network_that_answers_is_used(root: Root) -> None:
    no_network(root, "openverse", "bing")
    root.show(commons=range(20))
    root.run("grass", DRAWING)
    assert root.engines("grass", DRAWING) == {"commons": 12}
    no_network(root)
    with pytest.raises(SourceError, match="brought no pictures of 'moss'"):
        root.run("moss")


@pytest.mark.parametrize("source", ["folder", "bing"])
def test_a_root_with_photographs_gets_no_drawings(root: Root, source: str, tmp_path: Path) -> None:
    (tmp_path / "moss").mkdir()
    for number in range(12):
        (tmp_path / "moss" / f"{number}.jpg").write_bytes(picture(number))
    root.show(bing=range(12))
    root.run("moss", source, folder=tmp_path)
    no_network(root)
    shutil.rmtree(root.root / "collected", ignore_errors=True)
    with pytest.raises(SourceError, match="stands in only where"):
        root.run("grass", DRAWING)


@pytest.mark.slow
def test_what_people_added_is_learned_in_a_month_when_all_engines_are_dead(
    root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> list[str]:
        """What it made, by the history."""
        before = len(run_history.read(root.root))
        options = ["--classes", "grass,moss", "--limit", "20", "--root", str(root.root)]
        task = status.build("SplitDataset", options, root.root)
        assert luigi.build([task], local_scheduler=True, log_level="WARNING")
        return [event.name for event in run_history.read(root.root)[before:]]

    collections = ["DownloadImages(grass)", "DownloadImages(moss)"]
    dead = dict.fromkeys(HOSTS, DEAD)
    for first, host in ((0, "grass"), (40, "moss")):
        root.show(**dead | {"bing": range(first, first + 20)})
        root.run(host, limit=20)
    root.show(**dead)
    assert run() == ["SplitDataset"]
    root.later(31)
    assert sorted(run()) == collections
    assert run() == []
    file = root.root / "mine.jpg"
    file.write_bytes(picture(90))
    assert cli.main(["--root", str(root.root), "add", "--new", "grass", str(file)]) == 0
    assert run() == ["SplitDataset"]
    root.later(1)
    file.write_bytes(picture(91))
    assert cli.main(["--root", str(root.root), "add", "--new", "grass", str(file)]) == 0
    assert sorted(run()) == [*collections, "SplitDataset"]
    capsys.readouterr()
    parameters = ["SplitDataset", "--classes", "grass,moss", "--limit", "20"]
    assert cli.main(["--root", str(root.root), "status", *parameters]) == 0
    assert capsys.readouterr().out.count("complete  warning: openverse brought nothing: https://") == 2
    assert cli.main(["--root", str(root.root), "history"]) == 0
    assert "warning openverse brought nothing: https://" in capsys.readouterr().out
    task = status.build("SplitDataset", parameters[1:], root.root)
    (warning,) = task.warnings()
    assert warning.startswith("DownloadImages(grass), DownloadImages(moss): openverse brought nothing")
