"""The real pipeline in a folder of its own: a copy of the code, real subprocesses, a real server."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import tasks
from greenr_luigi.operations.status import build
from greenr_luigi.serving import processes, releases, rollout, server
from greenr_luigi.serving.service import Service
from greenr_luigi.staleness import traces
from greenr_luigi.staleness.requirements import run_order
from greenr_luigi.staleness.stamp import Stamp
from tests import shared

REPOSITORY = Path(__file__).resolve().parent.parent
#: The titles of all stages of two classes, in the order in which they run.
STAGES = [task.title for task in run_order(build("DeployApp", ["--classes", "dandelion,grass"], REPOSITORY))]
#: By parameter: small enough that a run is a matter of seconds, large enough that the model learns something, and a
#: server on any free port.
SMALL = {"epochs": "3", "image_size": "96", "port": "0", "web_workers": "1", "margin": "1"}
#: `epochs` of the first of the two models that `make_ready` deploys; the second has those of SMALL.
EARLIER_EPOCHS = "4"


def after(stage: str) -> list[str]:
    """The stages that run after this one."""
    return STAGES[STAGES.index(stage) + 1 :]


@dataclasses.dataclass
class Run:
    """How a run ended: its exit status, what ran (stage to cause, in the order of STAGES), and all that it said."""

    status: int
    ran: dict[str, str]
    output: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def luigid(cwd: Path, state: Path, log: IO[str] | int = subprocess.DEVNULL, **how: Any) -> Iterator[int]:
    """A real luigid that reads the luigi.cfg of `cwd` and answers on the port that is yielded."""
    port = free_port()
    command = [sys.executable, "-c", "from luigi.cmdline import luigid; luigid()", "--address", "127.0.0.1",
               "--port", str(port), "--state-path", str(state)]  # fmt: skip
    process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, **how)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/task_list", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


class Pipeline:
    """`home` is the working directory; the code is copied to `home/code`, so that tests may edit it. `options`: where
    pictures come from, which every stage takes."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.code = home / "code"
        self.root = home / "data root"
        self.options = options
        self.processes: list[subprocess.Popen[str]] = []
        for name in ("greenr_luigi", "tasks"):
            shutil.copytree(REPOSITORY / name, self.code / name, ignore=shutil.ignore_patterns("*.pyc.*"))
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{home / 'fake packages'}{os.pathsep}{self.code}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def parameters(self, stage: str) -> list[str]:
        """The options of the source and of SMALL, as far as the stage takes them."""
        known = getattr(tasks, stage).get_param_names(include_significant=True)
        small = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items() if name in known]
        return [*self.options, *small]

    def command(
        self, *options: str, stage: str = "DeployApp", scheduler: str = "--local-scheduler"
    ) -> list[str]:
        luigi = [sys.executable, "-m", "luigi", "--module", "tasks", stage, *scheduler.split()]
        return [*luigi, "--root", str(self.root), *self.parameters(stage), *options]

    def start(self, *options: str, **how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*options, **how), cwd=self.home, env=self.environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], timeout: float = 300) -> Run:
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            self.end(process)
        ran = dict(re.findall(r"INFO: (\w+(?:\([^)]*\))?) runs: (.*)", output))
        in_order = [stage for stage in STAGES if stage in ran] + [
            stage for stage in ran if stage not in STAGES
        ]
        return Run(process.returncode, {stage: ran[stage] for stage in in_order}, output)

    def run(self, *options: str, **how: str) -> Run:
        return self.finish(self.start(*options, **how))

    def end(self, process: subprocess.Popen[str]) -> None:
        """Also one that stands still, or that a failed test leaves: it would be complained of in the next."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        with process:
            self.processes.remove(process)

    def greenr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "greenr_luigi.cli", "--root", str(self.root), *arguments]
        return subprocess.run(
            command, cwd=self.home, env=self.environment, text=True, capture_output=True, timeout=120
        )

    def causes(self, *options: str, stage: str = "DeployApp") -> dict[str, str]:
        """The stages that are stale now, and why, as `greenr status` tells them."""
        status = self.greenr("status", "--json", stage, *self.parameters(stage), *options)
        assert status.returncode == 0, status.stderr
        return {row["stage"]: row["cause"] for row in json.loads(status.stdout) if row["cause"] is not None}

    def newest_output(self, stage: str) -> Path:
        links = [path for path in (self.root / stage.split("(")[0]).iterdir() if path.is_symlink()]
        named = [path for path in links if json.loads((path / "stamp.json").read_text())["title"] == stage]
        return max(named, key=lambda path: (path / "stamp.json").stat().st_mtime)

    @property
    def port(self) -> int:
        """The port of the server that was started last."""
        (running,) = processes.servers(self.root / "server")
        return running.note.port

    def serve(self, **how: Any) -> None:
        """Start the server that a deployment has left running, in a copy of its folder, or one that differs."""
        store = self.root / "releases"
        current = rollout.current(store)
        assert current is not None
        service = Service(store, self.root / "server", workers=int(SMALL["web_workers"]), **how)
        server.ensure(service, current, 60)

    def stop(self) -> None:
        for process in [*self.processes]:
            self.end(process)
        server.stop(self.root / "server")


def check_outputs(pipeline: Pipeline) -> None:
    """Every output that looks complete is what its stamp says, byte for byte; so is the release that serves."""
    for stamp_file in pipeline.root.glob("*/*/stamp.json"):
        if stamp_file.parent.is_symlink():
            stamp = Stamp.read(stamp_file.parent)
            if traces.files_changed("output", stamp.files, stamp_file.parent) is None:
                assert traces.digest(traces.snapshot(stamp_file.parent)) == stamp.digest, stamp_file
    store = pipeline.root / "releases"
    if current := rollout.current(store):
        releases.verify(store, current)


def draw(folder: Path, labels: dict[str, int]) -> None:
    """A person's own pictures: so many of each label, drawn."""
    from greenr_luigi.sources import sample
    from greenr_luigi.sources.source import Request

    for label, count in labels.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        candidates = sample.candidates(Request(label, label))
        for number, candidate in enumerate(itertools.islice(candidates, count)):
            (folder / label / f"{number}.jpg").write_bytes(candidate.load())


def drawings() -> Path:
    """A folder of 30 dandelions and 30 pictures of grass. Tests that change it copy it."""
    return shared.once("drawings", lambda folder: draw(folder, {"dandelion": 30, "grass": 30}))


def pipeline_of_drawings(home: Path) -> Pipeline:
    """A pipeline that has not run yet. Where its pictures lie is a parameter, so all such pipelines share them."""
    return Pipeline(home, "--source", "folder", "--folder", str(drawings()))


def make_ready(home: Path) -> None:
    """Deploy two models, one after the other, and stop the server; runs.json tells how both runs ended."""
    pipeline = pipeline_of_drawings(home)
    try:
        runs = [pipeline.run("--epochs", EARLIER_EPOCHS), pipeline.run()]
    finally:
        pipeline.stop()
    assert [run.status for run in runs] == [0, 0], runs
    (home / "runs.json").write_text(json.dumps([dataclasses.asdict(run) for run in runs]))


def copy_of_ready(ready: Path, home: Path) -> Pipeline:
    """What `make_ready` has made, without a server. Large files are linked: nothing writes into a finished one."""

    def link_or_copy(source: str, target: str) -> None:
        if Path(source).stat().st_size > 1 << 20:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    pipeline = pipeline_of_drawings(home)
    shutil.copytree(
        ready / "data root",
        pipeline.root,
        symlinks=True,
        ignore=shutil.ignore_patterns("server"),
        copy_function=link_or_copy,
    )
    return pipeline
