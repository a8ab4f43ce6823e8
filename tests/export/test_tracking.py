import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi import contracts
from greenr_luigi.dataset import pixels
from greenr_luigi.deployment import gate
from greenr_luigi.evaluation.metrics import ClassMetrics, Metrics
from greenr_luigi.export import model_card, tracking
from tests import walk

pytestmark = pytest.mark.slow

MLFLOW = Path(sys.executable).with_name("mlflow")
#: No word to MLflow's makers, no repository to look for, and none of the processes that run evaluations by schedule.
ENVIRONMENT = os.environ | {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a real MLflow server on SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/tracking.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_run_holds_parameters_metrics_curves_and_files(server, tmp_path):
    import mlflow

    folders = walk.walk()
    run = tracking.track(server, folders.model, folders.evaluation, folders.export)
    client = mlflow.MlflowClient(tracking_uri=server)
    told = client.get_run(run)
    metrics = json.loads((folders.evaluation / "metrics.json").read_text())
    assert told.info.status == "FINISHED"
    crossed = metrics["cross_validation"]
    assert told.data.metrics["cross_validation/error"] == crossed["error"]
    assert told.data.metrics["cross_validation/loss"] == pytest.approx(crossed["loss"])
    assert (
        told.data.params["arch"] == "tf_efficientnet_lite0" and told.data.params["classes"] == "disc, three"
    )
    assert told.data.metrics["accuracy"] == metrics["accuracy"] and "recall/disc" in told.data.metrics
    history = json.loads((folders.model / "training.json").read_text())["history"]
    curve = sorted((m.step, m.value) for m in client.get_metric_history(run, "valid_loss"))
    assert curve == [(i, row["valid_loss"]) for i, row in enumerate(history, 1)]
    names = {artifact.path for artifact in client.list_artifacts(run)}
    assert {
        "model.safetensors",
        "training.json",
        "metrics.json",
        "report.html",
        "model.onnx",
        "export.pkl",
    } <= names
    again = tracking.track(server, folders.model, folders.evaluation, folders.export)
    assert again != run and client.get_run(again).info.experiment_id == told.info.experiment_id


@pytest.mark.filterwarnings("ignore::Warning")
def test_mlflow_models_predict_answers_from_a_release(tmp_path):
    """In a process that does not find this project, only what the MLflow model brought."""
    folders = walk.walk()
    tracking.write_model(folders.export, tmp_path / "model")
    files = [folders.dataset / row.file for row in pixels.read_rows(folders.dataset, "test")]
    data = [[base64.b64encode(file.read_bytes()).decode()] for file in files]
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_split": {"columns": ["picture"], "data": data}}))
    command = [
        str(MLFLOW), "models", "predict", "-m", str(tmp_path / "model"), "-i", str(tmp_path / "in.json"), "-t", "json",
        "-o", str(tmp_path / "out.json"), "--env-manager", "local",
    ]  # fmt: skip
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["predictions"]
    rows_of = pixels.read_rows(folders.dataset, "test")
    card = model_card.read_card(folders.export)
    right = gate.named_rightly(folders.export, folders.dataset, rows_of)
    named = [max(card.classes, key=row.__getitem__) for row in rows]
    assert [label == row.label for label, row in zip(named, rows_of, strict=True)] == right.tolist()
    assert all(
        abs(row["disc"] + row["three"] - 1) < 1e-4 and row["label"] in ("", "disc", "three") for row in rows
    )


@pytest.mark.filterwarnings("ignore::Warning")
def test_a_server_that_is_not_there_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        tracking.TrackingError, match=r"'http://127.0.0.1:9', expected an MLflow server.*leave the address"
    ):
        tracking.track("http://127.0.0.1:9", *walk.walk()[1:])


def test_without_mlflow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(tracking.TrackingError, match=r"pip install 'greenr_luigi\[mlflow\]'"):
        tracking.track("http://127.0.0.1:9", Path(), Path(), Path())


def test_what_cannot_be_measured_and_odd_names():
    metrics = contracts.read(walk.walk().evaluation / "metrics.json", Metrics)
    odd = {"Löwenzahn: <gelb>": ClassMetrics(precision=None, recall=0.5, pictures=2)}
    values = tracking.measured(replace(metrics, per_class=odd))
    assert values["recall/Löwenzahn_ _gelb_"] == 0.5
    assert not any(name.startswith("precision/") for name in values)
