"""Workers on several machines over one root: each makes what no other does, and takes over what a dead one left."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenr_luigi import run_history
from tests.operations import hosts
from tests.operations.hosts import Host
from tests.pipeline import REPOSITORY, draw

pytestmark = [pytest.mark.slow, pytest.mark.machine]

CLASSES = ("dandelion", "grass", "rose")
#: Serves a folder; says who asks for what, and answers for no class of which there is a file `hold`.
SERVER = """
import http.server, os, sys, time
os.chdir(sys.argv[2])
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        print(self.client_address[0], self.path, file=said, flush=True)
        while os.path.exists("." + os.path.dirname(self.path) + "/hold"):
            time.sleep(0.02)
        super().do_GET()
said = open(sys.argv[1], "a")
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
LUIGID = "import sys; sys.argv[0] = 'luigid'; from luigi.cmdline import luigid; luigid()"


def until(happened: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Farm:
    def __init__(self, folder: Path, shared: Path, hub: Host, stack: contextlib.ExitStack) -> None:
        self.folder, self.root, self.hub, self._stack = folder, shared / "root", hub, stack
        self.pictures, self.said = folder / "pictures", folder / "said"
        # A process that enters another's mounts does not stay in its folder.
        config = {"LUIGI_CONFIG_PATH": str(REPOSITORY / "deploy" / "hosts.cfg")}
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONDONTWRITEBYTECODE": "1",
        } | config
        draw(self.pictures, dict.fromkeys(CLASSES, 12))
        (folder / "lists").mkdir()
        for label in CLASSES:
            (self.pictures / label / "hold").touch()
            names = sorted(path.name for path in (self.pictures / label).glob("*.jpg"))
            # The hub has this address for every machine.
            text = "".join(f"http://10.78.0.1:8080/{label}/{name}\n" for name in names)
            (folder / "lists" / f"{label}.txt").write_text(text)
        self.said.touch()
        hub.run("ip", "address", "add", "10.78.0.1/32", "dev", "lo")
        self._start(hub, sys.executable, "-c", SERVER, self.said, self.pictures, stderr=subprocess.DEVNULL)
        self.scheduler = self.luigid()

    def _start(self, host: Host, *command: object, **how: object) -> subprocess.Popen[str]:
        process = host.start(*command, **({"env": self.environment} | how))
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def luigid(self) -> subprocess.Popen[str]:
        """It answers, on the port 8082."""
        state, log = self.folder / "state", (self.folder / "luigid.log").open("a")
        with log:
            command = (sys.executable, "-c", LUIGID, "--address", "0.0.0.0", "--state-path", state)
            process = self._start(self.hub, *command, stdout=log, stderr=log)
        ask = "import urllib.request as r; r.urlopen('http://127.0.0.1:8082/api/task_list').close()"
        asking = self.hub.inside(sys.executable, "-c", ask)
        until(lambda: not subprocess.run(asking, stderr=subprocess.DEVNULL).returncode, "luigid answers")
        return process

    def work(self, host: Host) -> tuple[subprocess.Popen[str], Path]:
        """A run on a machine, and its log."""
        path = self.folder / f"{host.name}-{time.monotonic_ns()}.out"
        command = [sys.executable, "-m", "luigi", "--module", "tasks", "SplitDataset", "--scheduler-host", "10.78.0.1",
                   "--source", "urls", "--folder", self.folder / "lists", "--classes", ",".join(CLASSES),
                   # The one host holds what all ask for.
                   "--allow-networks", "10.78.0.0/16", "--per-host", "0", "--root", self.root]  # fmt: skip
        with path.open("w") as log:
            process = self._start(host, *command, stdout=log, stderr=log)
        return process, path

    def asked(self) -> dict[str, set[str]]:
        """By class, the machines that ask for its pictures."""
        asked: dict[str, set[str]] = {}
        for line in self.said.read_text().splitlines():
            address, path = line.split()
            asked.setdefault(path.split("/")[1], set()).add(address)
        return asked

    def let(self, label: str) -> None:
        (self.pictures / label / "hold").unlink()

    def stamps(self, host: Host) -> dict[str, dict[str, object]]:
        """By title, those of the outputs, as a machine sees them."""
        show = host.inside("sh", "-c", f"cat {self.root}/*/*/stamp.json | sed 's/}}{{/}}\\n{{/g'")
        lines = subprocess.run(show, capture_output=True, text=True, check=True).stdout.splitlines()
        return {stamp["title"]: stamp for stamp in map(json.loads, lines)}

    def history(self, host: Host) -> list[tuple[str, str, str]]:
        """What became of which stage, and where."""
        text = subprocess.run(
            host.inside("cat", self.root / run_history.FILE), capture_output=True, text=True
        )
        rows = [json.loads(line) for line in text.stdout.splitlines()]
        return [(row["name"], row["outcome"], row["host"]) for row in rows if row["kind"] == "stage"]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[tuple[Farm, Host, Host]]:
    if words := hosts.missing():
        pytest.skip(words)
    with hosts.sharing(tmp_path, "ann", "bob") as (shared, hub, (ann, bob)), contextlib.ExitStack() as stack:
        for number, host in enumerate((ann, bob)):
            host.run("ip", "route", "add", "10.78.0.1/32", "via", f"10.77.{number}.1")
        yield Farm(tmp_path, shared, hub, stack), ann, bob


def test_each_makes_what_no_other_does_and_takes_over_what_a_dead_one_left(
    farm: tuple[Farm, Host, Host],
) -> None:
    all_of_it, ann, bob = farm
    works = {"10.77.0.2": ann, "10.77.1.2": bob}
    runs = {host.name: all_of_it.work(host) for host in (ann, bob)}
    until(lambda: len(all_of_it.asked()) == 2, "two classes are asked for")
    first = {label: works[address].name for label, (address,) in all_of_it.asked().items()}
    assert sorted(first.values()) == ["ann", "bob"]

    dies = next(label for label, name in first.items() if name == "ann")
    ann.kill()
    for label in {*CLASSES} - {dies}:
        all_of_it.let(label)
    until(lambda: works.keys() == all_of_it.asked()[dies], "the stage of the dead machine is taken over", 30)
    all_of_it.let(dies)
    run, log = runs["bob"]
    # 10: another run was met.
    assert run.wait(120) in (0, 10), log.read_text()
    made = all_of_it.history(bob)
    titles = [f"DownloadImages({label})" for label in CLASSES]
    assert sorted(made) == [(title, "made", "bob") for title in [*titles, "SplitDataset"]]
    assert {stamp["host"] for stamp in all_of_it.stamps(bob).values()} == {"bob"}


def test_a_scheduler_that_is_killed_costs_no_work(farm: tuple[Farm, Host, Host]) -> None:
    all_of_it, ann, bob = farm
    runs = [all_of_it.work(host) for host in (ann, bob)]
    until(lambda: len(all_of_it.asked()) == 2, "two classes are asked for")
    os.kill(all_of_it.scheduler.pid, 9)
    all_of_it.scheduler.wait()
    all_of_it.luigid()
    for label in CLASSES:
        all_of_it.let(label)
    for run, _ in runs:
        run.wait(120)
    again, log = all_of_it.work(ann)
    assert again.wait(120) == 0, log.read_text()
    made = [(name, outcome) for name, outcome, _ in all_of_it.history(ann)]
    titles = [f"DownloadImages({label})" for label in CLASSES]
    assert sorted(made) == [(title, "made") for title in [*titles, "SplitDataset"]]
