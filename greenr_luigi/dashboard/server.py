"""luigid, as this project starts it: with its state and the tasks' history under the root, and closed by default."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import signal
import socket
import time
from collections.abc import Callable, Collection
from pathlib import Path

import luigi.server
import tornado.httpserver
import tornado.ioloop
import tornado.routing
import tornado.template
import tornado.web
from luigi.scheduler import Scheduler

from greenr_luigi.dashboard import pages
from greenr_luigi.dashboard.door import POLICY, Closed, Door
from greenr_luigi.dashboard.history import TaskHistory
from greenr_luigi.dashboard.state import SavedState
from greenr_luigi.staleness import regular
from greenr_luigi.web.hosts import names_of_this_machine

log = logging.getLogger("greenr")
#: Seconds between two looks whether the state has changed, between two at workers that are silent, and between two at
#: what of the history is old. Of the time, at most a twentieth goes into saving.
SAVE, PRUNE, FORGET, SHARE = 1.0, 60.0, 3600.0, 20
SCRIPT = "js/visualiserApp.js"
#: Without it a browser looks for one at the root, which is somebody else's behind a proxy.
ICON = '<link rel="icon" href="{up}runs/static/icon.svg" type="image/svg+xml">'


def serve(
    root: Path,
    folder: Path,
    listening: socket.socket,
    allowed: Collection[str],
    days: int,
    ready: Callable[[], None],
) -> None:
    """Answer until a signal ends this process (SIGTERM, SIGINT). `folder`: for its files; `allowed`: names by which it
    may be asked; `days`: for which it keeps the history of tasks; `ready` is called once it answers."""
    history = TaskHistory(folder / "history.sqlite")
    scheduler = _scheduler(folder, history)
    names = {*names_of_this_machine(), *allowed}
    server = tornado.httpserver.HTTPServer(Door(_router(root, scheduler), names))
    listening.setblocking(False)
    server.add_socket(listening)
    loop = tornado.ioloop.IOLoop.current()
    tornado.ioloop.PeriodicCallback(scheduler.prune, 1000 * PRUNE).start()
    loop.add_callback(history.forget, days)
    tornado.ioloop.PeriodicCallback(lambda: history.forget(days), 1000 * FORGET).start()

    def save() -> None:
        began = time.monotonic()
        scheduler.dump()
        loop.call_later(max(SAVE, SHARE * (time.monotonic() - began)), save)

    loop.call_later(SAVE, save)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    loop.add_callback(ready)
    loop.start()
    scheduler.dump()


def _scheduler(folder: Path, history: TaskHistory) -> Scheduler:
    made = Scheduler(task_history_impl=history)
    collector, made._state = made._state._metrics_collector, SavedState(folder / "state")
    made._state._metrics_collector = collector
    made.load()
    return made


def _router(root: Path, scheduler: Scheduler) -> tornado.routing.Router:
    of_luigi = luigi.server.app(scheduler)
    of_luigi.settings["template_loader"] = LuigisTemplates(
        str(Path(luigi.server.__file__).with_name("templates"))
    )
    page = Path(luigi.server.__file__).parent / "static" / "visualiser"
    texts = {name: regular.read(page / name).decode() for name in ("index.html", SCRIPT)}
    ours = tornado.web.Application(
        [
            *pages.handlers(root),
            (".*/index.html", Index, {"text": texts["index.html"]}),
            (f".*/{SCRIPT}", Script, {"text": texts[SCRIPT]}),
        ]
    )
    for application in (of_luigi, ours):
        application.transforms.append(Closed)
    rules = [
        # Its chart of one stage's durations comes from another host; ours are on the page of runs.
        tornado.routing.Rule(
            tornado.routing.PathMatches(f"/(runs|tasklist|static/visualiser/(index.html|{SCRIPT}))(/.*)?"),
            ours,
        ),
        tornado.routing.Rule(tornado.routing.AnyMatches(), of_luigi),
    ]
    return tornado.routing.RuleRouter(rules)


class Index(tornado.web.RequestHandler):
    """Luigi's page of stages, with links to the pages beside it, and a picture for the browser's tab."""

    LINKS = '<li><a href="../../runs">Runs</a></li><li><a href="../../history">History</a></li>'

    def initialize(self, text: str) -> None:
        self.text = text

    def get(self) -> None:
        inline = re.findall("<script>(.*?)</script>", self.text, re.DOTALL)
        hashes = "".join(
            f" 'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in inline
        )
        self.set_header(
            "Content-Security-Policy", POLICY.replace("script-src 'self'", f"script-src 'self'{hashes}")
        )
        before, menu, after = self.text.partition('id="topNavbar">')
        items, end, rest = after.partition("</ul>")
        self.finish(
            before.replace("<head>", f"<head>{ICON.format(up='../../')}")
            + menu
            + items
            + self.LINKS
            + end
            + rest
        )


class Script(tornado.web.RequestHandler):
    """Luigi's script of that page, which takes what a stage says for HTML: a label may be anything."""

    def initialize(self, text: str) -> None:
        self.text = text.replace(".html(data.statusMessage)", ".text(data.statusMessage)")

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.finish(self.text)


class LuigisTemplates(tornado.template.Loader):
    """Luigi's templates, with nothing from another host, and links that hold under any prefix."""

    UP = "{{ '../' * (request.path.count('/') - 1) }}"

    def _create_template(self, name: str) -> tornado.template.Template:
        text = regular.read(Path(self.root, name)).decode()
        lines = [line for line in text.splitlines() if "https://" not in line]
        text = "\n".join(lines).replace('href="/', f'href="{self.UP}')
        text = text.replace("<head>", f"<head>{ICON.format(up=self.UP)}")
        text = text.replace('{{ static_url("', f"{self.UP}static/").replace('") }}', "")
        return tornado.template.Template(text, name=name, loader=self)
