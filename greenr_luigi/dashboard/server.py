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
LINKS = '<li><a href="../../runs">Runs</a></li><li><a href="../../history">History</a></li>'


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
    index, script = (regular.read(page / name).decode() for name in ("index.html", SCRIPT))
    stages = {"text": with_links(index), "kind": "text/html", "policy": policy(index)}
    # It takes what a stage says for HTML: a label may be anything.
    script = script.replace(".html(data.statusMessage)", ".text(data.statusMessage)")
    ours = tornado.web.Application(
        [
            *pages.handlers(root),
            (".*/index.html", Changed, stages),
            (f".*/{SCRIPT}", Changed, {"text": script, "kind": "text/javascript", "policy": POLICY}),
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


def with_links(index: str) -> str:
    """Luigi's page of stages, with links to the pages beside it, and a picture for the browser's tab."""
    before, menu, after = index.partition('id="topNavbar">')
    items, end, rest = after.partition("</ul>")
    return before.replace("<head>", f"<head>{ICON.format(up='../../')}") + menu + items + LINKS + end + rest


def policy(index: str) -> str:
    """POLICY, and the scripts that stand in the page itself, each by its hash."""
    inline = re.findall("<script>(.*?)</script>", index, re.DOTALL)
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in inline
    )
    return POLICY.replace("script-src 'self'", f"script-src 'self'{hashes}")


class Changed(tornado.web.RequestHandler):
    """A file of Luigi's page of stages as we serve it."""

    def initialize(self, text: str, kind: str, policy: str) -> None:
        self.text = text
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.set_header("Content-Security-Policy", policy)

    def get(self) -> None:
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
