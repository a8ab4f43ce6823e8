"""`greenr run`, of a graph of one small stage, by Luigi's own command."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi import cli, run_history, shared_files
from greenr_luigi.operations import unattended
from greenr_luigi.operations.terminal import Show
from greenr_luigi.operations.unattended import LOG_NAME, LOGS
from greenr_luigi.run_history import Event
from tests.pipeline import luigid
from tests.serving.looking import until
from tests.started import is_alive, started

TOY = """
import os, pathlib, signal, time
from greenr_luigi import settings
from greenr_luigi.errors import GreenrError
from greenr_luigi.stage import PipelineStage

class Busy(GreenrError):
    passing = True

class ServeToy(PipelineStage):
    role = "deployment"

    def work(self, out):
        words = pathlib.Path("do").read_text().split()
        if words:
            pathlib.Path("do").write_text(" ".join(words[1:]))
        match words[:1]:
            case ["busy"]: raise Busy("the engine is busy")
            case ["wrong"]: raise GreenrError("the folder is gone")
            case ["killed"]: os.kill(os.getpid(), signal.SIGKILL)
            case ["waits"]:
                self.on_progress()(0.5, "waits")
                # A signal that comes just before signal.pause() would not end it.
                while True:
                    time.sleep(0.02)
        (out / "deployment.json").write_text('{"release": "0", "address": "/"}')
        self.on_progress()(1, "is done")
        return {"pictures": 3}

STAGES = (ServeToy,)
settings.apply(STAGES)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder with a graph of one stage, which does what the words in the file `do` say, one at a time."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "luigi.cfg").write_text(
        "[run]\nretries = 1\nminutes = 0\nlogs = 2\n[ServeToy]\nroot = data\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return tmp_path


def start():
    return started([sys.executable, "-m", "greenr_luigi.cli", "--module", "toy", "run"])


def await_stage(toy, process):
    """Until the stage waits."""
    logs = toy / "data" / LOGS
    until(lambda: process.poll() is not None or any("waits" in path.read_text() for path in logs.glob("*")))
    assert process.poll() is None


def run(toy, words):
    (toy / "do").write_text(words)
    with start() as process:
        said = process.communicate()[0].splitlines()
    events = [e for e in run_history.read(toy / "data") if e.kind == "run"]
    return process.returncode, said, events


@pytest.mark.slow
def test_a_good_run_and_one_with_nothing_to_do(toy):
    status, said, (event,) = run(toy, "")
    assert (status, said) == (0, ["ServeToy  is done"]), said
    assert (event.name, event.outcome, event.because) == ("ServeToy", "deployed", "ServeToy: no output yet")
    status, said, events = run(toy, "")
    assert (status, said, events[-1].outcome) == (0, [], "unchanged")
    logs = [path.read_text() for path in sorted((toy / "data" / LOGS).iterdir())]
    assert ["INFO: ServeToy 100 %  is done" in log for log in logs] == [True, False]
    assert all("ServeToy --root=" in log and "Luigi Execution Summary" in log for log in logs)


@pytest.mark.slow
def test_a_passing_fault_is_tried_again_and_no_other(toy):
    status, said, events = run(toy, "busy")
    assert (status, said) == (
        0,
        ["ServeToy: the engine is busy; tries again in 0 minutes", "ServeToy  is done"],
    )
    assert [(event.outcome, event.passing) for event in events] == [("failed", True), ("deployed", False)]
    (toy / "data" / "ServeToy").rename(toy / "away")
    status, said, events = run(toy, "busy busy busy")
    assert status == 30 and len(events) == 2 + 2
    status, said, events = run(toy, "wrong")
    assert status == 30 and len(events) == 2 + 2 + 1
    assert said[0] == "failed: ServeToy: the folder is gone"
    log = Path(said[1].removeprefix("All that was said: "))
    assert "the folder is gone" in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    assert len(list(log.parent.iterdir())) == 2, "logs = 2"


@pytest.mark.slow
def test_what_was_killed_or_is_no_run_is_told(toy):
    status, said, (event,) = run(toy, "killed")
    assert status != 0 and said[0].startswith("failed: ServeToy: it was ended by signal 9 (Killed): ")
    assert (event.outcome, event.passing) == ("failed", False)
    (toy / "toy.py").write_text(TOY.replace("settings.apply", "raise GreenrError('mend it') #"))
    status, said, _ = run(toy, "")
    assert (status, said) == (1, ["greenr: mend it"])


def test_a_stage_that_is_named_is_refused_with_how_to_run_it(capsys):
    assert cli.main(["run", "TrainModel", "--epochs=3"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("greenr: TrainModel: expected options alone")
    assert "A stage alone: `luigi --module tasks TrainModel`" in told


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["deleted", "cut to nothing"])
def test_where_luigi_cfg_is_lost_nothing_else_takes_the_place_of_what_is_served(toy, lost):
    defaults = toy / "defaults.cfg"
    defaults.write_text("[ServeToy]\nroot = data\nlabel = daisy\n")
    says = TOY.replace("    role", '    label = luigi.Parameter(description="Which.")\n    role')
    says = says.replace("(STAGES)", f"(STAGES, pathlib.Path({str(defaults)!r}))")
    (toy / "toy.py").write_text(f"import luigi\n{says}")
    (toy / "luigi.cfg").write_text("[ServeToy]\nlabel = tulip\n")
    assert run(toy, "")[0] == 0
    (toy / "luigi.cfg").unlink()
    if lost == "cut to nothing":
        (toy / "luigi.cfg").touch()
    status, said, events = run(toy, "")
    assert status == 1 and len(events) == 1, said
    assert said == [
        f"greenr: no luigi.cfg in {toy} sets anything, and no option says what is to be run: put it back, write one "
        "(`greenr init . --classes ...`), or give the options. Nothing was run"
    ]


@pytest.mark.slow
def test_whoever_ends_it_ends_the_run(toy):
    (toy / "do").write_text("waits")
    with start() as process:
        await_stage(toy, process)
        process.send_signal(signal.SIGTERM)
        said = process.communicate()[0]
    assert process.returncode != 0 and "failed: ServeToy: it was interrupted" in said
    assert [event.outcome for event in run_history.read(toy / "data")] == ["failed", "failed"]


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_one_that_is_killed_leaves_nothing_that_runs(toy, ignored):
    """Also where a shell has started it in the background, for which Ctrl-C is not meant."""
    (toy / "do").write_text("waits")
    with contextlib.ExitStack() as ending:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
        try:
            process = ending.enter_context(start())
        finally:
            signal.signal(signal.SIGINT, before)
        await_stage(toy, process)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.communicate()
    until(lambda: not is_alive(child))
    status, said, _ = run(toy, "")
    assert (status, said) == (0, ["ServeToy  is done"])


@pytest.mark.slow
def test_a_second_one_waits(toy):
    (toy / "do").write_text("")
    (toy / "data").mkdir()
    with contextlib.ExitStack() as ending:
        with shared_files.locked(toy / "data" / "run.lock"):
            process = ending.enter_context(start())
            assert process.stdout.readline().startswith(f"waits for process {os.getpid()}")
        assert process.communicate()[0] == "ServeToy  is done\n" and process.returncode == 0


@pytest.mark.slow
def test_what_another_worker_is_at_is_tried_again(toy):
    (toy / "do").write_text("waits")
    with luigid(toy, toy / "state") as port:
        scheduler = [f"--scheduler-port={port}", "--scheduler-host=127.0.0.1"]
        command = [sys.executable, "-m", "luigi", "--module", "toy", "ServeToy", *scheduler]
        with started(command) as other:
            assert any("waits" in line for line in other.stdout)
            run = subprocess.run(
                [sys.executable, "-m", "greenr_luigi.cli", "--module", "toy", "run", *scheduler],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
    assert run.returncode == 10, run.stdout
    assert run.stdout.startswith("another worker is at what is left; tries again in 0 minutes\n")


@pytest.mark.parametrize(
    ("status", "outcome", "judged"),
    [
        (10, "unchanged", (0, False)),
        (25, "deployed", (0, False)),
        (10, "failed", (10, True)),
        (25, "failed", (25, True)),
        (30, "failed", (30, False)),
        (40, "unchanged", (40, False)),
        (0, "unchanged", (0, False)),
    ],
)
def test_what_other_workers_did_is_as_good_as_done_here(status, outcome, judged):
    event = Event(kind="run", name="DeployApp", outcome=outcome, seconds=1)
    found = unattended._judged(status, event, [], False)
    assert (found.status, found.passing) == judged


LINES = [
    "DEBUG: something",
    "INFO: DownloadImages(maine coon) runs: no output yet",
    "INFO: DownloadImages(maine coon)   7 %  maine coon: 20 pictures [of 300]",
    "INFO: DownloadImages(maine coon) 100 %  maine coon: 300 pictures",
    "WARNING: DownloadImages(maine coon): bing brought nothing",
    "WARNING: Will not run DeployApp(root=data) or any dependencies due to error in complete() method:",
    "INFO: your classifier is live: http://127.0.0.1:8008/  (about the model: x)",
]


def shown(is_terminal, outcome):
    on = io.StringIO()
    show = Show(on, is_terminal)
    for line in LINES:
        show.line(line)
    event = Event(kind="run", name="DeployApp", outcome=outcome, seconds=1, because="x [red]y[/red]")
    show.end(event, Path("run.log"))
    return on.getvalue()


def test_without_a_terminal_a_line_a_stage():
    live = "your classifier is live: http://127.0.0.1:8008/  (about the model: x)\n"
    warning = "warning: DownloadImages(maine coon): bing brought nothing\n"
    done = f"DownloadImages(maine coon)  maine coon: 300 pictures\n{warning}{live}"
    assert shown(False, "deployed") == done
    assert shown(False, "unchanged") == live
    assert shown(False, "failed") == f"{done}failed: x [red]y[/red]\nAll that was said: run.log\n"


def test_the_parts_of_a_class_share_a_line():
    on = io.StringIO()
    for is_terminal in (True, False):
        show = Show(on, is_terminal)
        for number in range(1, 5):
            show.line(f"INFO: PictureShard(maine coon {number} of 4) 100 %  maine coon: 9 pictures")
        assert [*show.bars] == ["PictureShard(maine coon)"] and not show.held
        show.progress.stop()


def test_on_a_terminal_a_line_a_stage_moves():
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown(True, "unchanged"))
    assert (
        "DownloadImages(maine coon)" in plain
        and "100 %" in plain
        and "[of 300]" not in plain.splitlines()[-1]
    )
    assert "your classifier is live" in plain and plain.rstrip().endswith("nothing was stale")


def test_only_logs_of_runs_are_removed():
    assert LOG_NAME.fullmatch("run-000007-20261128T221726Z-2335.log")
    assert not any(
        LOG_NAME.fullmatch(name) for name in ("run.log", "run-000007-20261128T221726Z-2335.log.gz", "notes")
    )


def test_the_oldest_logs_go_whatever_the_clock_says(tmp_path):
    folder = tmp_path / LOGS
    folder.mkdir()
    names = ("run-000007-20270101T000000Z-1.log", "run-000008-20260101T000000Z-9.log", "notes")
    for name in names:
        (folder / name).touch()
    with unattended._log(tmp_path, 2) as log:
        for _ in range(3):
            log.write("x" * unattended.LOG_BYTES)
        assert log.path.name.startswith("run-000009-")
    left = {path.name: path.stat().st_size for path in folder.glob("[!.]*")}
    assert set(left) == {names[1], names[2], log.path.name, f"{log.path.name}.1"}
    assert sum(left.values()) < 2 * unattended.LOG_BYTES + 10
