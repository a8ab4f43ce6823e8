"""The page of runs: what ran, when, why, for how long, and what came of it, with each run's log and report."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tornado.web

from greenr_luigi import files, run_history, templating
from greenr_luigi.about import STATIC
from greenr_luigi.http_security import POLICY
from greenr_luigi.run_history import Event
from greenr_luigi.text import duration

TEMPLATES = templating.environment()
#: A run and its stages, as run_history.by_run gives them.
Lines = tuple[Event | None, Sequence[Event]]
#: Runs on the page, the newest ones; and the size of the drawing.
MOST, WIDTH, HEIGHT = 100, 900.0, 140.0
#: A report brings its own style and pictures; and for these and for logs no browser looks for a picture of the tab.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def handlers(root: Path) -> list[Any]:
    given = {"root": root}
    return [
        (r"/tasklist", tornado.web.RedirectHandler, {"url": "runs", "permanent": False}),
        (r"/tasklist/[^/]*", tornado.web.RedirectHandler, {"url": "../runs", "permanent": False}),
        (r"/runs/?", Runs, given),
        (r"/runs/static/(app\.css|icon\.svg)", tornado.web.StaticFileHandler, {"path": str(STATIC)}),
        (r"/runs/log/([^/]+)", Log, given),
        (r"/runs/report/([0-9a-f]+)", Report, given),
        (r"/runs/([0-9a-zA-Z]+)", Run, given),
    ]


@dataclass(frozen=True)
class Bar:
    """A run in the drawing of durations."""

    x: float
    width: float
    height: float
    outcome: str
    title: str


@dataclass(frozen=True)
class Shown:
    """A run with its stages. `log` and `report`: the names of these, empty where there are none; `judged`: by the gate,
    so that its summary has accuracy and pictures."""

    id: str
    began: str
    event: Event | None
    stages: Sequence[Event]
    log: str
    report: str
    judged: bool = False


class _Page(tornado.web.RequestHandler):
    def initialize(self, root: Path) -> None:
        self.root = root
        self.set_header("Content-Security-Policy", POLICY)

    def draw(self, template: str, **values: Any) -> None:
        up = "../" * (self.request.path.count("/") - 1)
        text = TEMPLATES.get_template(template).render(up=up, duration=duration, **values)
        self.finish(text)

    def head(self, *words: str) -> None:
        self.get(*words)  # Which sends no body then.

    def text_of(self, folder: Path, name: str) -> bytes:
        """A file of ours; answers 404 for what is none."""
        try:
            file = files.opened_own(folder, name)
        except OSError as error:
            raise tornado.web.HTTPError(404) from error
        if file is None:
            raise tornado.web.HTTPError(404)
        with file:
            return file.read()


class Runs(_Page):
    def get(self) -> None:
        runs = _history(self.root)
        newest = _shown(self.root, runs[-MOST:])
        self.draw("runs.html", runs=newest[::-1], count=len(runs), bars=bars(newest), rows=stages(newest))


class Run(_Page):
    def get(self, run: str) -> None:
        """A run that is under way may not have a line yet; it names its log."""
        of_it = [each for each in _history(self.root) if (each[0] or each[1][-1]).run == run]
        found = _shown(self.root, of_it)
        log = _log(self.root, self.get_query_argument("log", ""))
        if not found and not log:
            raise tornado.web.HTTPError(404)
        shown = found or [Shown(run, "", None, [], log, "")]
        self.draw("run.html", runs=shown, log=log)


class Log(_Page):
    def get(self, name: str) -> None:
        if not run_history.LOG_NAME.fullmatch(name):
            raise tornado.web.HTTPError(404)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.finish(self.text_of(self.root / run_history.LOGS, name))


class Report(_Page):
    def get(self, digest: str) -> None:
        self.set_header("Content-Security-Policy", REPORT_POLICY)
        self.finish(self.text_of(self.root / "releases", f"{digest}/report.html"))


def _history(root: Path) -> Sequence[Lines]:
    """Oldest first. A history of years is read once for each line that is added: runs ask the same process."""
    try:
        seen = (root / run_history.FILE).stat()
    except FileNotFoundError:
        return ()
    return _by_run(root, (seen.st_mtime_ns, seen.st_size))


@lru_cache(maxsize=1)
def _by_run(root: Path, _: tuple[int, int]) -> Sequence[Lines]:
    return run_history.by_run(run_history.read(root))


def _shown(root: Path, runs: Sequence[Lines]) -> list[Shown]:
    shown = []
    for run, of_run in runs:
        last = run or of_run[-1]
        report = str(run.summary.get("release", "")) if run else ""
        is_there = (
            re.fullmatch("[0-9a-f]+", report) and (root / "releases" / report / "report.html").is_file()
        )
        first = (of_run or [last])[0]
        shown.append(
            Shown(
                last.run,
                first.ended,
                run,
                of_run,
                _log(root, last.log),
                report if is_there else "",
                bool(run and run_history.judged([run])),
            )
        )
    return shown


def _log(root: Path, name: str) -> str:
    if not run_history.LOG_NAME.fullmatch(name):
        return ""
    return name if (root / run_history.LOGS / name).is_file() else ""


def bars(runs: Sequence[Shown]) -> list[Bar]:
    """How long the runs took that have ended, oldest first."""
    ended = [(run.id, run.event) for run in runs if run.event]
    most = max([event.seconds for _, event in ended], default=0) or 1
    step = min(WIDTH / max(len(ended), 1), 24)
    return [
        Bar(
            x=number * step,
            width=max(step - 2, 1),
            height=max(HEIGHT * event.seconds / most, 2),
            outcome=event.outcome,
            title=f"{event.ended[:16].replace('T', ' ')}: {event.outcome}, {duration(event.seconds)}",
        )
        for number, (_, event) in enumerate(ended)
    ]


def stages(runs: Sequence[Shown]) -> list[dict[str, Any]]:
    """What each stage took, those of one kind such as DownloadImages(grass) together, the longest first."""
    seconds: dict[str, list[float]] = {}
    for run in runs:
        for event in run.stages:
            if event.outcome == "made":
                seconds.setdefault(event.name.partition("(")[0], []).append(event.seconds)
    rows = [
        {
            "name": name,
            "times": len(took),
            "last": took[-1],
            "median": statistics.median(took),
            "most": max(took),
        }
        for name, took in seconds.items()
    ]
    return sorted(rows, key=lambda row: -row["median"])
