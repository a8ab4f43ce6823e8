"""The real graph, end to end, in subprocesses: what runs when what is changed, and a server that answers."""

import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest

import tasks
from greenr_luigi.operations import graph
from greenr_luigi.serving import releases
from greenr_luigi.staleness import traces
from tests.pipeline import STAGES, Pipeline, draw

DOWNLOAD_D, DOWNLOAD_G, SPLIT, TRAIN, EVALUATE, EXPORT, DEPLOY = STAGES
AFTER_SPLIT = [TRAIN, EVALUATE, EXPORT, DEPLOY]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    home = tmp_path_factory.mktemp("a home")
    draw(home / "my pictures", {"dandelion": 30, "grass": 30})
    pipeline = Pipeline(home, "--source", "folder", "--folder", str(home / "my pictures"))
    try:
        first = pipeline.run()
        assert first.status == 0, first.output
        assert list(first.ran) == STAGES
        assert f"your classifier is live: {pipeline.url}" in first.output
        yield pipeline
    finally:
        pipeline.stop()


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


def test_the_server_answers_with_the_release_that_was_deployed(pipeline):
    answers = [
        predict(pipeline, pipeline.home / "my pictures" / label / "3.jpg") for label in ("dandelion", "grass")
    ]
    assert [answer["label"] for answer in answers] == ["dandelion", "grass"]
    assert answers[0]["release"] == (pipeline.root / "releases" / "current").resolve().name
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)


def test_each_output_says_what_it_holds(pipeline):
    files = {stage: {p.name for p in pipeline.place(stage).iterdir()} for stage in STAGES}
    assert files[SPLIT] >= {"train", "valid", "test", "manifest.csv", "excluded.csv", "stamp.json"}
    assert files[TRAIN] >= {"model.safetensors", "training.json"}
    assert files[EVALUATE] >= {"metrics.json", "predictions.csv", "report.html"}
    assert files[EXPORT] >= {"export.pkl", "model.onnx", "model.json"}


def test_a_run_with_nothing_to_do_imports_nothing_heavy(pipeline):
    script = (
        "import sys, luigi.cmdline as c\n"
        "try:\n    c.luigi_run(sys.argv[1:])\n"
        "finally:\n    print('HEAVY', sorted({'torch', 'fastai', 'numpy', 'PIL', 'onnxruntime'} & set(sys.modules)))"
    )
    import subprocess
    import sys

    command = [sys.executable, "-c", script, *pipeline.command()[3:]]
    told = subprocess.run(
        command, cwd=pipeline.home, env=pipeline.environment, capture_output=True, text=True, timeout=60
    )
    assert "HEAVY []" in told.stdout, told.stderr
    assert "Did not run any tasks" in told.stderr


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def model_json(pipeline):
    return pipeline.place(EXPORT) / "model.json"


def fake_version(pipeline, name):
    folder = pipeline.home / "fake packages" / f"{name}-99.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")


def point_elsewhere(pipeline):
    current = pipeline.root / "releases" / "current"
    other = next(
        p
        for p in current.parent.iterdir()
        if (p / "release.json").exists() and p != current.resolve() and p != current
    )
    link = current.with_name("new")
    link.symlink_to(other.name)
    link.replace(current)


def kill_server(pipeline):
    os.kill(int((pipeline.root / "server" / "gunicorn.pid").read_text()), signal.SIGKILL)


#: What is changed; the options of the run after it; the stages that then run, and no other; the first one's cause.
CASES = [
    ("nothing", lambda p: None, [], [], None),
    ("a parameter of training", lambda p: None, ["--epochs", "4"], AFTER_SPLIT, "parameter epochs: 3 -> 4"),
    ("back to the earlier parameter", lambda p: None, [], [DEPLOY], "the release store points to "),
    (
        "luigi.cfg",
        lambda p: (p.home / "luigi.cfg").write_text("[TrainModel]\nrecipe = mirrored\n"),
        [], AFTER_SPLIT, "parameter ",
    ),
    ("luigi.cfg as it was", lambda p: (p.home / "luigi.cfg").unlink(), [], [DEPLOY], "the release store points to "),
    ("a picture's time only", lambda p: os.utime(p.home / "my pictures/grass/1.jpg", (1, 1)), [], [], None),
    (
        "a picture more in the folder",
        lambda p: draw(p.home / "my pictures", {"grass": 33}),
        [], [DOWNLOAD_G, SPLIT, *AFTER_SPLIT], "folder grass file 3",
    ),
    (
        "a picture less in the folder",
        lambda p: (p.home / "my pictures/grass/5.jpg").unlink(),
        [], [DOWNLOAD_G, SPLIT, *AFTER_SPLIT], "folder grass file 5.jpg is missing",
    ),
    (
        "a picture of the data set deleted",
        lambda p: next((p.place(SPLIT) / "train/grass").iterdir()).unlink(), [], [SPLIT], "output file train/grass/",
    ),
    (
        "the model deleted",
        lambda p: (p.place(TRAIN) / "model.safetensors").unlink(),
        [], [TRAIN], "output file model.safe",
    ),
    (
        "the report edited",
        lambda p: edit(p.place(EVALUATE) / "report.html", "<h1", "<h1 "),
        [], [EVALUATE], "output file report",
    ),
    (
        "an output more",
        lambda p: (p.place(EXPORT) / "notes.txt").write_text(""),
        [], [EXPORT], "output file notes.txt was added",
    ),
    (
        "an output cut short",
        lambda p: model_json(p).write_bytes(model_json(p).read_bytes()[:50]),
        [], [EXPORT], "output file model.json",
    ),
    (
        "a torn stamp",
        lambda p: (p.place(SPLIT) / "stamp.json").write_text('{"title": "Spl'),
        [], [SPLIT], "its stamp cannot be read",
    ),
    (
        "a comment in the code",
        lambda p: edit(p.code / "greenr_luigi/training/train.py", "\n\n\n", "\n\n\n# Hm.\n"),
        [], [], None,
    ),
    (
        "code of training that does the same",
        lambda p: edit(p.code / "greenr_luigi/training/train.py", "\n\n\n", "\n\n\nUNUSED = 1\n\n\n"),
        [], [TRAIN], "code of greenr_luigi/training/train.py changed",
    ),
    (
        "code of the web page",
        lambda p: edit(p.code / "greenr_luigi/web/pages.py", "\n\n\n", "\n\n\nUNUSED = 1\n\n\n"),
        [], [DEPLOY], "code of greenr_luigi/web/pages.py changed",
    ),
    (
        "a file of the release that serves deleted",
        lambda p: (p.root / "releases" / "current" / "model.onnx").unlink(),
        [],
        [DEPLOY],
        "file model.onnx of release ",
    ),
    ("the server killed", kill_server, [], [DEPLOY], "no server of ours answers"),
    ("another release served", point_elsewhere, [], [DEPLOY], "the release store points to "),
    (
        "a picture rejected",
        lambda p: p.greenr("reject", str(next((p.place(SPLIT) / "train/grass").iterdir()))),
        [], [SPLIT, *AFTER_SPLIT], "curation",
    ),
    ("asked for", lambda p: None, ["--force", "TrainModel"], [TRAIN], "asked for: --force TrainModel"),
    ("a library", lambda p: fake_version(p, "uvicorn"), [], [DEPLOY], "version of uvicorn: "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "options", "runs", "cause"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_only_what_is_stale_runs_and_says_why(pipeline, change, options, runs, cause):
    """In order: each case starts from where the one before it left the pipeline."""
    change(pipeline)
    told = pipeline.causes(*options)
    stale = [stage for stage, because in told.items() if because is not None]
    assert set(runs) <= set(stale)
    run = pipeline.run(*options)
    assert run.status == 0, run.output
    assert list(run.ran) == runs, run.output
    if cause is not None:
        assert run.ran[runs[0]].startswith(cause)
        assert told[runs[0]] == run.ran[runs[0]]
    assert "your classifier is live" in run.output or DEPLOY not in runs
    assert not any(pipeline.causes(*([] if "--force" in options else options)).values())


def test_every_stage_can_be_run_alone(pipeline, tmp_path):
    alone = ["--root", str(tmp_path / "data")]
    run = pipeline.run("--label", "grass", *alone, stage="DownloadImages")
    assert (run.status, list(run.ran)) == (0, [DOWNLOAD_G])
    run = pipeline.run("--epochs", "1", "--image-size", "64", *alone, stage="ExportModel")
    assert (run.status, list(run.ran)) == (0, [DOWNLOAD_D, SPLIT, TRAIN, EVALUATE, EXPORT])
    # Nothing is deployed, so nothing is live.
    gone = graph.prune(tmp_path / "data", 0)
    assert {row["stage"] for row in gone} == {DOWNLOAD_D, DOWNLOAD_G, SPLIT, TRAIN, EVALUATE, EXPORT}


def test_usage_and_prune_keep_what_is_live(pipeline):
    for options in (["--epochs", "5"], []):
        assert pipeline.run(*options).status == 0
    before = json.loads(pipeline.greenr("usage", "--json").stdout)
    live = {row["place"] for row in before if row["live"]}
    assert {row["stage"] for row in before if row["live"]} == {*STAGES, "release"}
    assert graph.judged(pipeline.root) == (pipeline.place(SPLIT), pipeline.place(EVALUATE))
    # The line that a person is told to type finds everything as it is.
    told = shlex.split(graph.again(pipeline.root))
    assert told[:4] == ["luigi", "--module", "tasks", "DeployApp"]
    assert not any(pipeline.causes(*told[5:]).values())
    store = pipeline.root / "releases"
    spared = {f"releases/{releases.previous(store)}"}
    pictures = {path: path.read_bytes() for path in (pipeline.home / "my pictures").rglob("*.jpg")}
    assert "would remove" in pipeline.greenr("prune", "--keep", "0", "--dry-run").stdout
    assert len(json.loads(pipeline.greenr("usage", "--json").stdout)) == len(before)
    pipeline.greenr("prune", "--keep", "0")
    after = json.loads(pipeline.greenr("usage", "--json").stdout)
    assert {row["place"] for row in after} == live | spared
    assert pictures == {path: path.read_bytes() for path in (pipeline.home / "my pictures").rglob("*.jpg")}
    assert pipeline.run().ran == {}


def test_a_rollback_stays_until_there_is_another_model(pipeline):
    """The next run of cron does not take it back, not even when it must start the server."""
    store, other = pipeline.root / "releases", ["--epochs", "6"]
    first = releases.current(store)
    assert pipeline.run(*other).status == 0
    second = releases.current(store)
    assert second != first
    assert "--force DeployApp" in pipeline.greenr("rollback").stdout
    assert releases.current(store) == first
    assert not any(pipeline.causes(*other).values())
    kill_server(pipeline)
    run = pipeline.run(*other)
    assert (run.status, list(run.ran)) == (0, [DEPLOY])
    assert (
        releases.current(store)
        == first
        == predict(pipeline, pipeline.home / "my pictures" / "grass" / "3.jpg")["release"]
    )
    assert not any(pipeline.causes(*other).values())
    assert pipeline.run(*other, "--force", "DeployApp").status == 0
    assert releases.current(store) == second


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epohcs", "3"], "--epohcs is no parameter of DeployApp: did you mean --epochs?"),
        (["--classes", "one"], "expected two or more different names"),
        (["--source", "bin"], "did you mean 'bing'"),
        (["--force", "TrianModel"], "did you mean TrainModel?"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_remedy(pipeline, options, words):
    run = pipeline.run(*options)
    assert run.status != 0
    assert words in run.output


def test_a_misspelled_setting_in_luigi_cfg_is_refused(pipeline):
    file = Path(pipeline.home, "luigi.cfg")
    for text, words in [
        ("[TrainModel]\nepohcs = 3\n", "did you mean epochs?"),
        ("[TrainModle]\nepochs = 3\n", "did you mean [TrainModel]?"),
    ]:
        file.write_text(text)
        run = pipeline.run()
        assert run.status != 0
        assert words in run.output
    file.unlink()
    shutil.rmtree(pipeline.home / "fake packages")


def finished(root, title, key, **parameters):
    """An output that is no more than its stamp; returns its place."""
    stage = title.split("(")[0]
    place, folder = root / stage / key, root / stage / f".{key}-x"
    folder.mkdir(parents=True)
    place.symlink_to(folder.name)
    stamp = {key: {} for key in traces.STAMP_KEYS} | {
        "title": title,
        "finished": float(key),
        "parameters": parameters,
    }
    (place / "stamp.json").write_text(json.dumps(stamp))
    return place


def test_the_line_to_run_again_holds_what_is_not_configured_and_no_more(tmp_path):
    configured = {name: p.task_value("DeployApp", name) for name, p in tasks.DeployApp.get_params()}
    assert configured["source"] == "bing" and configured["host"]
    plain = f"luigi --module tasks DeployApp --local-scheduler --root {tmp_path}"
    assert graph.again(tmp_path) == plain
    finished(
        tmp_path,
        "DeployApp",
        "1",
        source="bing",
        host="",
        query="a b",
        epochs=str(configured["epochs"]),
        port="99",
    )
    assert graph.again(tmp_path) == f"{plain} --host '' --query 'a b' --port 99"


def test_a_torn_stamp_does_not_keep_others_from_being_seen(tmp_path):
    assert "--port 99" in graph.again(finished(tmp_path, "DeployApp", "1", port="99").parents[1])
    torn = tmp_path / "TrainModel"
    (torn / ".made").mkdir(parents=True)
    (torn / "0").symlink_to(".made")
    (torn / "1").symlink_to("gone")
    for text in ("", "{", "{}"):
        (torn / "0" / "stamp.json").write_text(text)
        assert "--port 99" in graph.again(tmp_path)
        assert graph.judged(tmp_path) is None


def test_prune_keeps_the_last_pictures_that_the_web_gave(tmp_path):
    """Of each class; what lies in a folder or is drawn can be had again."""
    for number, source in enumerate(("bing", "urls", "folder", "sample")):
        for key in (f"1{number}", f"2{number}"):
            finished(tmp_path, f"DownloadImages({source})", key, source=source)
    gone = {row["place"].removeprefix("DownloadImages/") for row in graph.prune(tmp_path, 0)}
    assert gone == {"10", "11", "12", "22", "13", "23"}
    assert {path.name for path in (tmp_path / "DownloadImages").iterdir() if path.is_symlink()} == {
        "20",
        "21",
    }
