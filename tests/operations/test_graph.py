"""The real graph, end to end, in subprocesses: what runs when what is changed, and a server that answers."""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from greenr_luigi import kept
from greenr_luigi.operations.last_run import command_to_run_again, dataset_and_evaluation
from greenr_luigi.operations.prune import prune
from greenr_luigi.operations.usage import CACHES
from greenr_luigi.serving import rollout
from greenr_luigi.staleness import traces
from tests.pipeline import (
    EARLIER_EPOCHS,
    SMALL,
    STAGES,
    Pipeline,
    Run,
    after,
    copy_of_ready,
    draw,
    drawings,
    pipeline_of_drawings,
)

DOWNLOAD_D, DOWNLOAD_G = "DownloadImages(dandelion)", "DownloadImages(grass)"
SPLIT, TRAIN, EVALUATE, EXPORT, DEPLOY = (
    "SplitDataset",
    "TrainModel",
    "EvaluateModel",
    "ExportModel",
    "DeployApp",
)


def runs_of(ready):
    return [Run(**run) for run in json.loads((ready / "runs.json").read_text())]


def predict(pipeline, file):
    body = (
        b"--b\r\nContent-Disposition: form-data; name=file; filename=x.jpg\r\n\r\n"
        + file.read_bytes()
        + b"\r\n--b--\r\n"
    )
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.port, timeout=30)
    connection.request("POST", "/api/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
    with contextlib.closing(connection):
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


@pytest.mark.slow
def test_from_nothing_to_a_live_classifier(ready):
    first, _ = runs_of(ready)
    assert list(first.ran) == STAGES
    assert set(first.ran.values()) == {"no output yet"}
    assert "your classifier is live: http://127.0.0.1:" in first.output


@pytest.mark.slow
def test_another_parameter_of_training_runs_training_and_what_follows(ready):
    _, second = runs_of(ready)
    assert list(second.ran) == after(SPLIT)
    assert second.ran[TRAIN] == f"parameter epochs: {EARLIER_EPOCHS} -> {SMALL['epochs']}"
    assert "your classifier is live" in second.output


@pytest.mark.slow
def test_the_server_answers_with_the_release_that_was_deployed(deployed):
    answers = [predict(deployed, drawings() / label / "3.jpg") for label in ("dandelion", "grass")]
    assert [answer["label"] for answer in answers] == ["dandelion", "grass"]
    assert answers[0]["release"] == rollout.current(deployed.root / "releases")
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_each_output_says_what_it_holds(ready):
    pipeline_root = ready / "data root"
    files = {
        stage: {file.name for output in (pipeline_root / stage).iterdir() for file in output.glob("*")}
        for stage in (SPLIT, TRAIN, EVALUATE, EXPORT)
    }
    assert files[SPLIT] >= {"train", "valid", "test", "manifest.csv", "excluded.csv", "stamp.json"}
    assert files[TRAIN] >= {"model.safetensors", "training.json"}
    assert files[EVALUATE] >= {"metrics.json", "predictions.csv", "report.html"}
    assert files[EXPORT] >= {"export.pkl", "model.onnx", "model.json"}


@pytest.mark.slow
def test_a_run_with_nothing_to_do_imports_nothing_heavy(deployed):
    script = (
        "import sys, luigi.cmdline as c\n"
        "try:\n    c.luigi_run(sys.argv[1:])\n"
        "finally:\n    print('HEAVY', sorted({'torch', 'fastai', 'numpy', 'PIL', 'onnxruntime'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, *deployed.command()[3:]]
    run = subprocess.run(command, cwd=deployed.home, env=deployed.environment, capture_output=True, text=True)
    assert "HEAVY []" in run.stdout, run.stderr
    assert "Did not run any tasks" in run.stderr


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def add_unused_name(module):
    edit(module, "\n\n\n", "\n\n\nUNUSED = 1\n\n\n")


def kill_server(pipeline):
    os.kill(int((pipeline.root / "server" / "gunicorn.pid").read_text()), signal.SIGKILL)


def a_training_picture(pipeline):
    return next((pipeline.newest_output(SPLIT) / "train" / "grass").iterdir())


#: What is changed; the options of the run after it; the stages that then run, and no other; the first one's cause. What
#: makes any stage stale, tests/staleness shows with small ones; a recipe's code, tests/training/test_recipes.py.
CASES = [
    ("an earlier parameter", lambda p: None, ["--epochs", EARLIER_EPOCHS], [DEPLOY],
     "the release store points to "),
    ("a picture of the data set deleted", lambda p: a_training_picture(p).unlink(), [], [SPLIT],
     "output file train/grass/"),
    ("a comment in the code", lambda p: edit(p.code / "greenr_luigi/training/train.py", "\n\n\n", "\n\n\n# Hm.\n"),
     [], [], None),
    ("code of the web page", lambda p: add_unused_name(p.code / "greenr_luigi/web/pages.py"), [], [DEPLOY],
     "code of greenr_luigi/web/pages.py changed"),
    ("a file of the release that serves deleted",
     lambda p: (p.root / "releases" / "current" / "model.onnx").unlink(), [], [DEPLOY], "release "),
    ("a server under another prefix", lambda p: p.serve(root_path="/app"), [], [DEPLOY],
     "the server's GREENR_ROOT_PATH: /app -> none"),
    ("shares that split alike", lambda p: None, ["--valid-share", "0.1501"], [SPLIT, DEPLOY],
     "parameter valid_share: 0.15 -> 0.1501"),
    ("our own split where none is given", lambda p: None, ["--split", "ours"], [SPLIT, DEPLOY],
     "parameter split: given -> ours"),
    ("a folder renamed", lambda p: shutil.copytree(drawings(), p.home / "renamed"), ["--folder", "renamed"],
     [DOWNLOAD_D, DOWNLOAD_G, DEPLOY], "parameter folder: "),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "options", "runs", "cause"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_only_what_is_stale_runs_and_says_why(deployed, change, options, runs, cause):
    change(deployed)
    stale = deployed.causes(*options)
    assert set(runs) <= set(stale)
    run = deployed.run(*options)
    assert run.status == 0, run.output
    assert list(run.ran) == runs, run.output
    if cause is not None:
        assert run.ran[runs[0]].startswith(cause)
        assert stale[runs[0]] == run.ran[runs[0]]
    assert "your classifier is live" in run.output or DEPLOY not in runs
    assert deployed.causes(*options) == {}


@pytest.mark.slow
def test_a_setting_in_luigi_cfg_counts_as_long_as_it_stands_there(ready, tmp_path):
    pipeline = copy_of_ready(ready, tmp_path)
    settings = pipeline.home / "luigi.cfg"
    settings.write_text("[SplitDataset]\nvalid_share = 0.3\n")
    stale = pipeline.causes()
    assert list(stale) == after(DOWNLOAD_G)
    assert stale[SPLIT] == "parameter valid_share: 0.15 -> 0.3"
    before = len(list(pipeline.newest_output(SPLIT).glob("valid/*/*")))
    run = pipeline.run(stage=SPLIT)
    assert (run.status, run.ran) == (0, {SPLIT: stale[SPLIT]}), run.output
    assert len(list(pipeline.newest_output(SPLIT).glob("valid/*/*"))) > before
    settings.unlink()
    assert TRAIN not in pipeline.causes()


@pytest.mark.slow
def test_a_folder_of_pictures_is_collected_again_when_its_pictures_change(tmp_path):
    """What then follows a changed data set, the case of a rejected picture shows."""
    pictures = shutil.copytree(drawings(), tmp_path / "my pictures")
    pipeline = Pipeline(tmp_path, "--source", "folder", "--folder", str(pictures))
    assert list(pipeline.run(stage=SPLIT).ran) == [DOWNLOAD_D, DOWNLOAD_G, SPLIT]
    os.utime(pictures / "grass" / "1.jpg", (1, 1))
    assert pipeline.causes(stage=SPLIT) == {}
    draw(pictures, {"grass": 31})
    run = pipeline.run(stage=SPLIT)
    assert (run.status, list(run.ran)) == (0, [DOWNLOAD_G, SPLIT]), run.output
    assert run.ran[DOWNLOAD_G] == "folder grass file 30.jpg was added"
    assert run.ran[SPLIT].startswith("input DownloadImages(grass) changed: ")
    assert pipeline.causes(stage=SPLIT) == {}


@pytest.mark.slow
def test_a_stage_can_be_run_alone(tmp_path):
    pipeline = pipeline_of_drawings(tmp_path)
    run = pipeline.run("--label", "grass", stage="DownloadImages")
    assert (run.status, list(run.ran)) == (0, [DOWNLOAD_G])
    run = pipeline.run(stage=SPLIT)
    assert (run.status, list(run.ran)) == (0, [DOWNLOAD_D, SPLIT])
    # Nothing is deployed, so nothing is live.
    removed = prune(pipeline.root, 0)
    assert {removal.what for removal in removed} - {"lock"} == {DOWNLOAD_D, DOWNLOAD_G, SPLIT, kept.CHECKS}
    left = pipeline.root.glob("*/*")
    assert [path for path in left if path.is_dir() or path.suffix == ".lock"] == []


@pytest.mark.slow
def test_usage_and_prune_keep_what_is_live(deployed):
    before = json.loads(deployed.greenr("usage", "--json").stdout)
    live = {row["place"] for row in before if row["live"]}
    assert {row["stage"] for row in before if row["live"]} == {*STAGES, "release"}
    assert dataset_and_evaluation(deployed.root) == (
        deployed.newest_output(SPLIT),
        deployed.newest_output(EVALUATE),
    )
    # The line that a person is told to type finds everything as it is.
    words = shlex.split(command_to_run_again(deployed.root))
    assert words[:4] == ["luigi", "--module", "tasks", "DeployApp"]
    assert deployed.causes(*words[5:]) == {}
    store = deployed.root / "releases"
    spared = {f"releases/{rollout.previous(store)}", *CACHES}
    pictures = traces.snapshot(drawings())
    assert "would remove" in deployed.greenr("prune", "--keep", "0", "--dry-run").stdout
    assert len(json.loads(deployed.greenr("usage", "--json").stdout)) == len(before)
    deployed.greenr("prune", "--keep", "0")
    after = json.loads(deployed.greenr("usage", "--json").stdout)
    assert {row["place"] for row in after} == live | spared < {row["place"] for row in before}
    assert traces.snapshot(drawings()) == pictures
    assert deployed.run().ran == {}


@pytest.mark.slow
def test_a_rollback_stays_until_there_is_another_model(deployed):
    """The next run of cron does not take it back, not even when it must start the server."""
    store = deployed.root / "releases"
    newest, earlier = rollout.current(store), rollout.previous(store)
    assert newest != earlier is not None
    assert "--force DeployApp" in deployed.greenr("rollback").stdout
    assert rollout.current(store) == earlier
    assert deployed.causes() == {}
    kill_server(deployed)
    run = deployed.run()
    assert (run.status, list(run.ran)) == (0, [DEPLOY])
    assert run.ran[DEPLOY].startswith("no server of ours answers")
    assert rollout.current(store) == earlier
    assert predict(deployed, drawings() / "grass" / "3.jpg")["release"] == earlier
    assert deployed.causes() == {}
    assert deployed.run("--force", DEPLOY).status == 0
    assert rollout.current(store) == newest


@pytest.mark.slow
def test_a_person_goes_on_without_a_rerun(deployed):
    add_unused_name(deployed.code / "greenr_luigi/training/train.py")
    accepted = deployed.greenr("accept", TRAIN, *deployed.parameters(DEPLOY))
    assert accepted.stdout == "TrainModel  accepted: code of greenr_luigi/training/train.py\n", (
        accepted.stderr
    )
    status = deployed.greenr("status", DEPLOY, *deployed.parameters(DEPLOY))
    assert "TrainModel                 complete  accepted without a rerun: code of " in status.stdout
    assert deployed.run().ran == {}
    refused = deployed.greenr("accept", "TrainModle", *deployed.parameters(DEPLOY))
    assert refused.returncode == 1 and "did you mean TrainModel?" in refused.stderr


@pytest.mark.slow
def test_a_picture_rejected_and_restored_trains_nothing_again(deployed):
    before, picture = deployed.newest_output(TRAIN).resolve(), a_training_picture(deployed).stem
    for action, runs, cause in (
        ("reject", [SPLIT, *after(SPLIT)], "curation was added"),
        ("restore", [SPLIT, DEPLOY], "curation was edited"),
    ):
        assert deployed.greenr(action, picture).returncode == 0
        stale = deployed.causes()
        run = deployed.run()
        assert (run.status, list(run.ran)) == (0, runs), run.output
        assert run.ran[SPLIT] == stale[SPLIT] and stale[SPLIT].startswith(cause)
        assert "your classifier is live" in run.output
        assert deployed.causes() == {}
    assert not before.exists()
    live = [row["place"] for row in json.loads(deployed.greenr("usage", "--json").stdout) if row["live"]]
    assert len([place for place in live if place.startswith(TRAIN)]) == 1
