"""The real pipeline in a folder of its own: a copy of the code, real subprocesses, a real server."""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parent.parent
STAGES = ["DownloadImages(dandelion)", "DownloadImages(grass)", "SplitDataset", "TrainModel", "EvaluateModel",
          "ExportModel", "DeployApp"]  # fmt: skip
#: Small enough that a run is a matter of seconds, large enough that the model learns something.
SMALL = ("--epochs", "3", "--image-size", "96", "--web-workers", "1", "--margin", "1")


@dataclass
class Run:
    """How a run ended: its exit status, what ran (stage to cause), and all that it said."""

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
        deadline = time.monotonic() + 30
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
    """`home` is the working directory; the code is copied to `home/code`, so that tests may edit it."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.code = home / "code"
        self.root = home / "data root"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.options = ["--root", str(self.root), *options]
        for name in ("greenr_luigi", "tasks"):
            shutil.copytree(REPOSITORY / name, self.code / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{home / 'fake packages'}{os.pathsep}{self.code}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def command(
        self, *options: str, stage: str = "DeployApp", scheduler: str = "--local-scheduler"
    ) -> list[str]:
        serve = ["--port", str(self.port), *SMALL] if stage == "DeployApp" else []
        return [
            sys.executable,
            "-m",
            "luigi",
            "--module",
            "tasks",
            stage,
            *scheduler.split(),
            *self.options,
            *serve,
            *options,
        ]

    def start(self, *options: str, **how: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*options, **how), cwd=self.home, env=self.environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], timeout: float = 300) -> Run:
        output, _ = process.communicate(timeout=timeout)
        ran = dict(re.findall(r"INFO: (\w+(?:\([^)]*\))?) runs: (.*)", output))
        return Run(
            process.returncode, dict(sorted(ran.items(), key=lambda item: STAGES.index(item[0]))), output
        )

    def run(self, *options: str, **how: str) -> Run:
        return self.finish(self.start(*options, **how))

    def greenr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "greenr_luigi.cli", "--root", str(self.root), *arguments]
        return subprocess.run(
            command, cwd=self.home, env=self.environment, text=True, capture_output=True, timeout=120
        )

    def causes(self, *options: str) -> dict[str, str | None]:
        told = self.greenr(
            "status", "--json", "DeployApp", *self.options[2:], "--port", str(self.port), *SMALL, *options
        )
        assert told.returncode == 0, told.stderr
        return {row["stage"]: row["cause"] for row in json.loads(told.stdout)}

    def place(self, stage: str) -> Path:
        """The newest output of a stage."""
        links = [path for path in (self.root / stage.split("(")[0]).iterdir() if path.is_symlink()]
        named = [path for path in links if json.loads((path / "stamp.json").read_text())["title"] == stage]
        return max(named, key=lambda path: (path / "stamp.json").stat().st_mtime)

    def stop(self) -> None:
        self.greenr("stop")


def draw(folder: Path, labels: dict[str, int]) -> None:
    """A person's own pictures: so many of each label, drawn."""
    from greenr_luigi.sources import sample
    from greenr_luigi.sources.source import Request

    for label, count in labels.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        candidates = sample.candidates(Request(label, label))
        for number, candidate in enumerate(itertools.islice(candidates, count)):
            (folder / label / f"{number}.jpg").write_bytes(candidate.load())
