"""The schedule by systemd, on a machine that systemd runs: root's units, which run as whoever owns the folder, and a
user's."""

from __future__ import annotations

import functools
import json
import shlex
import sys
from dataclasses import dataclass

import pytest

from tests.operations.nspawn import USER, Machine, machine
from tests.serving import looking

pytestmark = pytest.mark.slow
__all__ = ["machine"]

#: A pipeline of one stage, which does as the file `do` says and releases the tiny model.
TOY = """
import os, pathlib, signal
from greenr_luigi import settings
from greenr_luigi.deployment import deploy
from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import service
from greenr_luigi.serving.service import Service
from greenr_luigi.serving import server
from greenr_luigi.stage import PipelineStage
from tests import tiny_release

class ServeToy(PipelineStage):
    role = "deployment"

    @classmethod
    def last_service(cls, root, otherwise={}):
        return Service(root / "releases", root / "server", "127.0.0.1", PORT, 1)

    @classmethod
    def serve_on(cls, root, otherwise, tell):
        deploy.serve_on(cls.last_service(root), tell)

    def work(self, out):
        with open("began", "a") as began:
            began.write("began\\n")
        match pathlib.Path("do").read_text():
            case "wait": open("go").read()
            case "wrong": raise GreenrError("the folder is gone")
            case "killed": os.kill(os.getppid(), signal.SIGKILL)
        service = self.last_service(self.root)
        tiny_release.deploy(service.store)
        deploy.serve(service, print)
        (out / "deployment.json").write_text('{"release": "0", "address": "/"}')

STAGES = (ServeToy,)
settings.apply(STAGES)
"""


#: Luigi's scheduler takes a run that was killed for one under way, for some seconds.
CONFIGURATION = """
[ServeToy]
root = data
[run]
minutes = 0
[dashboard]
boot = 1
port = {port}
"""
#: On a busy machine as well.
until = functools.partial(looking.until, seconds=60)


@dataclass
class Scheduled:
    machine: Machine
    user: str
    port: int

    @property
    def folder(self) -> str:
        return f'/srv/{self.user} 50% o\'clock "q" $HOME \\'

    def make(self) -> None:
        self.shell(f"install -d -o {USER} {shlex.quote(self.folder)}", user="root", where="/")
        for name, text in (
            ("toy.py", TOY.replace("PORT", str(self.port))),
            ("luigi.cfg", CONFIGURATION.format(port=self.port + 100)),
            ("do", "wait"),
        ):
            self.write(name, text)
        self.shell("mkfifo go")

    def write(self, name: str, text: str) -> None:
        self.shell('printf %s "$2" > "$1"', name, text)

    def shell(self, script: str, *words: str, user: str = USER, where: str = "") -> str:
        command = ["sh", "-c", f"cd {shlex.quote(where or self.folder)} && {script}", "sh", *words]
        return self.machine.run(*command, user=user).stdout

    def greenr(self, *words: str, user: str = "") -> str:
        line = f'"{sys.executable}" -m greenr_luigi.cli --module toy "$@" 2>&1 || true'
        return self.shell(line, *words, user=user or self.user)

    def systemctl(self, *words: str, check: bool = True) -> str:
        runtime = "export XDG_RUNTIME_DIR=/run/user/$(id -u); " if self.user == USER else ""
        manager = "--user" if self.user == USER else "--system"
        line = f'{runtime}systemctl {manager} "$@"{"" if check else " || true"}'
        return self.shell(line, *words, user=self.user, where="/").strip()

    @property
    def units(self) -> list[str]:
        """The run, its timer, the page and the dashboard, as they are listed."""
        listed = self.greenr("schedule", "show").splitlines()
        return [line.rpartition("/")[2] for line in listed[:4]]

    def soon(self, unit: str, *lines: str) -> None:
        """Lines for a unit, so that nobody waits for it."""
        places = {"root": "/etc/systemd/system", USER: f"/home/{USER}/.config/systemd/user"}
        place = f"{places[self.user]}/{unit}.d"
        script = 'mkdir -p "$1" && printf "%s\\n" "$2" > "$1/soon.conf"'
        self.shell(script, place, "\n".join(lines), user=self.user, where="/")
        self.systemctl("daemon-reload")
        if unit.endswith(".timer"):
            self.systemctl("restart", unit)

    @property
    def began(self) -> int:
        return self.shell("cat began 2>/dev/null || true").count("began")

    def has_run(self, unit: str) -> bool:
        """Since the machine was started."""
        return self.systemctl("show", "--property=ExecMainStartTimestampMonotonic", "--value", unit) != "0"

    def state(self, unit: str) -> str:
        """Whether it runs, and how it ended."""
        told = self.systemctl("show", "--property=ActiveState,Result", unit)
        found = dict(line.split("=", 1) for line in told.splitlines())
        return f"{found['ActiveState']} {found['Result']}"

    @property
    def servers(self) -> list[int]:
        """The server's pid, if one runs."""
        # One that has ended and was not asked for its status yet has no command.
        script = "read pid < data/server/gunicorn.pid && grep -q . /proc/$pid/cmdline && echo $pid || true"
        return [int(word) for word in self.shell(script).split()]

    @property
    def runs(self) -> list[str]:
        told = self.greenr("history", "--json", user=USER)
        return [event["outcome"] for event in json.loads(told) if event["kind"] == "run"]


def test_runs_and_the_page_by_a_real_systemd(machine: Machine) -> None:
    machine.start()
    both = by_root, by_user = Scheduled(machine, "root", 8001), Scheduled(machine, USER, 8002)
    for scheduled in both:
        scheduled.make()
    told = by_user.greenr("schedule", "install", "--systemd")
    assert f"sudo loginctl enable-linger {USER}" in told and "OnCalendar=" in told, told
    machine.run("loginctl", "enable-linger", USER)
    machine.run("touch", "/etc/systemd/system/greenr-other.service")
    for scheduled in both:
        told = scheduled.greenr("schedule", "install", "--systemd", "--at", "4:17")
        assert "04:17:00" in told and "linger" not in told, told
        runs_and_stays(scheduled)
        assert told == scheduled.greenr("schedule", "install", "--systemd", "--at", "4:17"), "twice is once"
    is_watched(by_root)
    run, timer, *_ = by_root.units
    machine.run("touch", "--date=2 days ago", f"/var/lib/systemd/timers/stamp-{timer}")
    machine.stop()
    machine.start()
    until(lambda: by_root.has_run(run))  # What was missed while it was off.
    for scheduled in both:
        is_back_until_removed(scheduled)
    left = machine.run(
        "find", "/etc/systemd", f"/home/{USER}", "-name", "greenr*", "-not", "-type", "d"
    ).stdout
    assert left == "/etc/systemd/system/greenr-other.service\n"


def runs_and_stays(scheduled: Scheduled) -> None:
    """By its timer, once at a time; the page that it has brought up stays, and its unit watches it."""
    run, timer, page, dashboard = scheduled.units
    until(lambda: scheduled.state(page) == "inactive success")  # Nothing is released yet.
    until(lambda: scheduled.state(dashboard) == "active success")
    scheduled.soon(timer, "[Timer]", "OnCalendar=*:*:*", "AccuracySec=1ms")
    until(lambda: scheduled.state(run) == "activating success" and scheduled.began == 1)
    scheduled.soon(timer, "[Timer]")
    scheduled.systemctl("start", "--no-block", run)
    scheduled.write("do", "")
    scheduled.write("go", "")
    until(lambda: scheduled.state(run) == "inactive success" and scheduled.state(page) == "active success")
    assert (scheduled.began, scheduled.runs, len(scheduled.servers)) == (1, ["deployed"], 1)


def is_watched(scheduled: Scheduled) -> None:
    """The page is brought up again, however its server or a run ends, unless a person has stopped it."""
    run, _, page, dashboard = scheduled.units
    one_that_a_person_has_started_is_waited_for(scheduled, dashboard)
    scheduled.soon(page, "[Service]", "RestartSec=100ms")
    (server,) = scheduled.servers
    scheduled.shell(f"kill -KILL {server}")
    until(lambda: len(scheduled.servers) == 1 and scheduled.servers != [server])
    for do, state in (("wrong", "failed exit-code"), ("killed", "failed signal")):
        scheduled.systemctl("stop", page)
        assert (scheduled.servers, scheduled.state(page)) == ([], "inactive success")
        scheduled.write("do", do)
        scheduled.shell("rm -rf data/ServeToy")
        scheduled.systemctl("start", run, check=False)
        assert scheduled.state(run) == state
        until(lambda: scheduled.state(page) == "active success" and len(scheduled.servers) == 1)
    assert scheduled.greenr("stop", user=USER) == "stopped\n"
    until(lambda: scheduled.state(page) == "inactive success")
    scheduled.write("do", "wrong")
    scheduled.systemctl("start", run, check=False)
    until(lambda: scheduled.state(page) == "inactive success")
    assert scheduled.servers == []
    scheduled.greenr("start", user=USER)
    assert len(scheduled.servers) == 1


def one_that_a_person_has_started_is_waited_for(scheduled: Scheduled, unit: str) -> None:
    scheduled.soon(unit, "[Service]", "RestartSec=100ms")
    before = scheduled.systemctl("show", "--property=MainPID", "--value", unit)
    scheduled.shell(f"kill -KILL {before}")
    until(lambda: scheduled.systemctl("show", "--property=MainPID", "--value", unit) not in ("0", before))
    until(lambda: scheduled.state(unit) == "active success")
    assert scheduled.greenr("dashboard", "stop", user=USER) == "stopped\n"
    until(lambda: scheduled.state(unit) == "inactive success")
    assert "shows each stage" in scheduled.greenr("dashboard", user=USER)
    scheduled.systemctl("start", "--no-block", unit)
    until(lambda: "waits: " in scheduled.machine.says("journalctl", f"--unit={unit}", "--output=cat"))
    assert scheduled.state(unit) == "activating success"
    assert scheduled.greenr("dashboard", "stop", user=USER) == "stopped\n"
    until(lambda: scheduled.state(unit) == "active success")


def is_back_until_removed(scheduled: Scheduled) -> None:
    _, timer, page, dashboard = scheduled.units
    until(lambda: scheduled.state(dashboard) == "active success")
    until(lambda: scheduled.state(page) == "active success" and len(scheduled.servers) == 1)
    (server,) = scheduled.servers
    assert scheduled.greenr("schedule", "remove") == "removed\n"
    assert scheduled.greenr("schedule", "show") == "nothing is scheduled for this folder\n"
    assert scheduled.systemctl("list-units", "--all", "--plain", "--no-legend", timer) == ""
    assert scheduled.servers == [server], "what was started goes on"
