"""The history of a data root: what stages and runs leave there, and what is made of it."""

import json

import luigi
import pytest

import tasks
from greenr_luigi import cli, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import last_run
from greenr_luigi.run_history import Event, by_run, judged, of_run
from greenr_luigi.stage import PipelineStage
from tasks import deploy
from tests.stamped import finish


class Poem(PipelineStage):
    lines = luigi.IntParameter(default=3, description="How many; with none it fails.")

    def work(self, out):
        if not self.lines:
            raise GreenrError("--lines 0: expected 1 or more")
        (out / "poem").write_text("rose\n" * self.lines)
        return {"lines": self.lines}


def run(root, **parameters):
    return luigi.build([Poem(root=root, **parameters)], local_scheduler=True, log_level="ERROR")


def told(root):
    return [(e.name, e.outcome, e.because, e.summary) for e in run_history.read(root)]


def test_a_stage_that_did_something_or_failed_leaves_a_line(tmp_path):
    assert run(tmp_path)
    assert run(tmp_path)
    assert not run(tmp_path, lines=0)
    assert told(tmp_path) == [
        ("Poem", "made", "no output yet", {"lines": 3}),
        ("Poem", "failed", "--lines 0: expected 1 or more", {}),
    ]
    made = run_history.read(tmp_path)[0]
    assert made.run == run_history.RUN and made.host and 0 < made.seconds < 60 and made.kind == "stage"


def test_a_history_that_cannot_be_written_fails_no_run(tmp_path, caplog):
    (tmp_path / run_history.FILE).mkdir()
    caplog.set_level("INFO", "luigi-interface")
    assert run(tmp_path)
    assert (
        f"not noted in {tmp_path / run_history.FILE}: it is a folder, where a file is expected" in caplog.text
    )


def stage(name, outcome="made", because="", run="r", **summary):
    return Event(
        kind="stage", name=name, outcome=outcome, seconds=1, because=because, run=run, summary=summary
    )


def deployment(outcome, run="r", **summary):
    return Event(kind="run", name="DeployApp", outcome=outcome, seconds=9, run=run, summary=summary)


@pytest.mark.parametrize(
    ("stages", "stale", "outcome", "because"),
    [
        ([], None, "unchanged", ""),
        ([stage("A", because="no output yet"), stage("DeployApp")], None, "deployed", "A: no output yet"),
        ([stage("A", "taken", "x")], None, "unchanged", "A: x"),
        ([stage("A", "failed", "no network")], "input A is stale", "failed", "A: no network"),
        ([stage("A"), stage("DeployApp", "refused", "worse")], "y", "refused", "DeployApp: worse"),
        ([stage("A", "failed", "x"), stage("A"), stage("DeployApp")], None, "deployed", "A: "),
        ([], "input A is stale", "failed", "input A is stale"),
    ],
)
def test_how_a_run_ended(stages, stale, outcome, because):
    event = of_run("DeployApp", 2.0, stages, stale)
    assert (event.kind, event.name, event.outcome, event.because) == ("run", "DeployApp", outcome, because)


@pytest.mark.parametrize("where", ["DeployApp", "TrainModel"])
def test_a_run_that_cannot_tell_what_is_stale_says_why(tmp_path, monkeypatch, where):
    """As after an upgrade that was torn: a file of the program is no Python. Before that shows, a stage behind may have
    found a cause of its own."""
    at_exit = []
    monkeypatch.setattr(deploy, "deployments", {})
    monkeypatch.setattr(deploy.atexit, "register", lambda *call: at_exit.append(call))

    def examine(stage):
        if stage.task_family in (where, "EvaluateModel"):
            raise GreenrError("train.py, line 145: invalid syntax: mend it")
        return "code of gate.py changed"

    monkeypatch.setattr(PipelineStage, "_examine", examine)
    with luigi.worker.Worker() as worker:
        assert not worker.add(tasks.DeployApp(root=tmp_path))
    (note,) = (call for call in at_exit if call[0] is deploy.note_run)
    deploy.note_run(*note[1:])
    first, run = run_history.read(tmp_path)
    assert (first.kind, first.outcome, run.outcome, run.because) == (
        "stage", "failed", "failed", f"{first.name}: train.py, line 145: invalid syntax: mend it",
    )  # fmt: skip


def test_stages_stand_with_their_run():
    first, second = stage("A"), stage("B", run="killed")
    end, again = deployment("deployed"), deployment("unchanged")
    events = [first, second, end, again]
    assert by_run(events) == [(end, [first]), (again, []), (None, [second])]


def test_only_models_that_were_judged_are_compared():
    good = deployment("deployed", accuracy=0.9, pictures=300)
    refused = deployment("refused", accuracy=1, pictures=310)
    others = [
        deployment("unchanged"),
        deployment("failed"),
        deployment("deployed"),
        deployment("deployed", accuracy="high", pictures=3),
        deployment("deployed", accuracy=10**400, pictures=3),
        stage("DeployApp", "refused", accuracy=0.9, pictures=1),
    ]
    assert judged([others[0], good, *others[1:], refused]) == [good, refused]


def test_greenr_history(tmp_path, capsys):
    assert cli.main(["--root", str(tmp_path), "history"]) == 0
    assert capsys.readouterr().out == "nothing has run yet\n"
    made = stage("TrainModel", because="parameter epochs: 3 -> 4")
    end = deployment("deployed", accuracy=0.951, pictures=300)
    for event in (made, end, stage("SplitDataset", run="killed")):
        run_history.append(tmp_path, event, pytest.fail)
    with (tmp_path / run_history.FILE).open("a") as file:
        file.write('\n{"kind": "run"}\n\n{"kind": "run", "na')
    assert cli.main(["--root", str(tmp_path), "history"]) == 0
    said = capsys.readouterr()
    first, second, third, fourth = said.out.splitlines()
    assert said.err.endswith("what cannot be read as a line of the history, and is passed over: 2\n")
    assert first.endswith("  deployed  9.0 s  accuracy 95.1\N{NO-BREAK SPACE}%, pictures 300")
    assert second == f"{'':16}  - TrainModel  made  1.0 s  parameter epochs: 3 -> 4"
    assert third.endswith("  has not ended, or was not asked to deploy") and "SplitDataset" in fourth
    assert cli.main(["--root", str(tmp_path), "history", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["kind"], row["name"], row["outcome"]) for row in rows] == [
        ("stage", "TrainModel", "made"),
        ("run", "DeployApp", "deployed"),
        ("stage", "SplitDataset", "made"),
    ]


def test_many_classes_that_were_deployed_are_named_in_short(tmp_path, capsys):
    labels = [f"class {number:04}" for number in range(100)]
    finish(tmp_path, "DeployApp", 1, parameters={"classes": ",".join(labels)})
    assert f"--classes={','.join(labels)}" in last_run.options(tmp_path)
    assert cli.main(["--root", str(tmp_path), "status"]) == 0
    said = capsys.readouterr().err
    assert "'--classes=class 0000,class 0001," in said and len(said) < 300 and "...'" in said


def test_status_is_of_what_was_deployed_and_what_a_person_has_written_holds(tmp_path, monkeypatch, capsys):
    deployed = {
        "limit": "9",
        "source": "openverse,commons,bing",
        "port": "8008",
        "epochs": "7",
        "removed": "1",
    }
    finish(tmp_path, "DeployApp", 1, parameters=deployed)
    assert last_run.options(tmp_path) == ["--limit=9", "--epochs=7"]
    monkeypatch.setattr(last_run, "_configured", lambda _: {"limit": "0", "epochs": "30"})
    assert last_run.options(tmp_path) == ["--limit=9"]
    assert cli.main(["--root", str(tmp_path), "status"]) == 0
    assert capsys.readouterr().err == "as last deployed, with --limit=9\n"
    assert cli.main(["--root", str(tmp_path), "status", "DeployApp"]) == 0
    assert capsys.readouterr().err == ""
