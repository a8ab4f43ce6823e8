"""Whatever fails, the last good release serves: real runs after all of a server's processes have gone."""

import datetime
import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from greenr_luigi import run_history
from greenr_luigi.serving import processes, publishing, rollout, server
from greenr_luigi.stage import INTERRUPTED
from tests import tiny_release
from tests.pipeline import Pipeline
from tests.serving.looking import until

pytestmark = pytest.mark.slow


def reboot(pipeline: Pipeline) -> None:
    """Every process of the server ends at once, and none takes back what it has written."""
    run_dir = pipeline.root / "server"
    pids = [int(path.stem) for path in run_dir.glob("workers/*.json")]
    for pid in [int((run_dir / "gunicorn.pid").read_text()), *pids]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not processes.find(run_dir))


def served(output: str) -> str:
    """The release that answers at the address which a run or a command has printed last."""
    address = [word for word in output.split() if word.startswith("http://127.0.0.1:")][-1]
    with urllib.request.urlopen(address + "readyz", timeout=10) as answer:
        return str(json.load(answer)["release"])


def test_a_run_that_fails_serves_the_last_good_release_again(deployed: Pipeline, tmp_path: Path) -> None:
    good = rollout.current(deployed.root / "releases")
    reboot(deployed)
    failed = deployed.run("--folder", str(tmp_path / "nowhere"))
    assert failed.status != 0 and "nowhere" in failed.output
    assert served(failed.output) == good
    # Had another model been released meanwhile, that knows none of the classes, the next would be refused.
    store = deployed.root / "releases"
    exported = tiny_release.export(tmp_path / "other", classes=["circle", "square", "triangle"])
    other = publishing.publish(store, exported.iterdir())
    rollout.point(store, other)
    reboot(deployed)
    refused = deployed.run()
    assert "the new model is not released, the one before serves on" in refused.output, refused.output[-5000:]
    assert served(refused.output) == other == rollout.current(store)
    *_, of_stage, of_run = run_history.read(deployed.root)
    assert (of_stage.kind, of_stage.name, of_stage.outcome) == ("stage", "DeployApp", "refused")
    assert (of_run.kind, of_run.outcome, of_run.run) == ("run", "refused", of_stage.run)
    assert {"accuracy", "pictures"} == of_run.summary.keys() and "is not released" in of_run.because


def test_so_does_a_run_that_is_interrupted(deployed: Pipeline) -> None:
    reboot(deployed)
    process = deployed.start("--epochs", "7")
    assert process.stdout is not None
    said = ""
    while "TrainModel runs:" not in said:
        said = process.stdout.readline()
        assert said
    process.send_signal(signal.SIGINT)
    run = deployed.finish(process)
    assert run.status != 0
    assert served(run.output) == rollout.current(deployed.root / "releases")
    last = run_history.read(deployed.root)[-1]
    assert (last.kind, last.outcome) == ("run", "failed") and INTERRUPTED in last.because


def test_so_does_one_that_is_interrupted_between_two_stages(deployed: Pipeline) -> None:
    reboot(deployed)
    (deployed.home / "between.py").write_text(
        "import tasks\n"
        "def interrupt(stage):\n"
        "    raise KeyboardInterrupt\n"
        "tasks.TrainModel.on_success = interrupt\n"
    )
    run = deployed.run("--epochs", "8", "--module", "between")
    assert [*run.ran] == ["TrainModel"] and run.status != 0
    assert served(run.output) == rollout.current(deployed.root / "releases")
    last = run_history.read(deployed.root)[-1]
    assert (last.kind, last.outcome, last.because) == ("run", "failed", INTERRUPTED)


def test_a_run_that_does_not_deploy_starts_no_server(deployed: Pipeline, tmp_path: Path) -> None:
    deployed.stop()
    failed = deployed.run("--folder", str(tmp_path / "nowhere"), stage="SplitDataset")
    assert failed.status != 0 and "serves again" not in failed.output
    assert not server.stop(deployed.root / "server")


def test_a_page_that_a_person_stopped_stays_stopped_until_it_is_started(
    deployed: Pipeline, tmp_path: Path
) -> None:
    assert deployed.greenr("stop").stdout == "stopped\n"
    failed = deployed.run("--folder", str(tmp_path / "nowhere"))
    assert failed.status != 0 and "`greenr start` starts it" in failed.output
    assert not processes.servers(deployed.root / "server")
    assert deployed.greenr("start").returncode == 0
    reboot(deployed)
    failed = deployed.run("--folder", str(tmp_path / "nowhere"))
    assert served(failed.output) == rollout.current(deployed.root / "releases")


def test_start_serves_what_is_there(deployed: Pipeline) -> None:
    good = rollout.current(deployed.root / "releases")
    reboot(deployed)
    nothing = deployed.greenr("server")
    assert nothing.returncode == 1 and "no server runs under" in nothing.stderr
    (deployed.home / "luigi.cfg").write_text("[server]\nfeedback = 1\n")
    started = deployed.greenr("start")
    assert started.returncode == 0 and served(started.stdout) == good, started.stderr
    (told,) = json.loads(deployed.greenr("server", "--json").stdout)
    assert started.stdout.startswith(told["address"]) and told["releases"] == [good]
    assert len(told["workers"]) == told["workers_wanted"] == 1 and Path(told["log"]).is_file()
    began = datetime.datetime.fromisoformat(told["since"])
    assert datetime.timedelta() < datetime.datetime.now() - began < datetime.timedelta(minutes=2)
    assert (told["settings"]["--web-workers"], told["settings"]["GREENR_FEEDBACK"]) == ("1", "1")
    assert f"address   {told['address']}\n" in deployed.greenr("server").stdout
    again = deployed.greenr("start")
    assert again.stdout == started.stdout
    rolled_back = deployed.greenr("rollback")
    assert rolled_back.returncode == 0
    deployed.stop()
    assert served(deployed.greenr("start").stdout) == rollout.current(deployed.root / "releases") != good
