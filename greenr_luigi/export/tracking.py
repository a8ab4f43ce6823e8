"""Each model told to MLflow, when the extra `mlflow` is installed and a tracking address is set; and a
release as an MLflow model."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

EXPERIMENT = "greenr_luigi"
MEASURED = (
    "accuracy",
    "error",
    "loss",
    "calibration_error",
    "temperature",
    "threshold",
    "coverage",
    "error_of_answered",
)
#: The file that MLflow runs a model from, and what it needs beside itself.
SCORER = Path(__file__).parent / "mlflow_scorer.py"
NEEDED = ("__init__.py", "pictures.py")


class TrackingError(RuntimeError):
    """A model could not be told to the tracking server."""


def track(
    address: str, model: Path, evaluation: Path, exported: Path | None = None, *, experiment: str = EXPERIMENT
) -> str:
    """Make a run on the MLflow server at `address` (http://..., or sqlite:///...) from the folders of
    TrainModel, EvaluateModel and, if given, ExportModel: parameters, metrics, the curves epoch by epoch, and
    the files as artifacts. Returns the run's id.

    Raises TrackingError if MLflow is not installed or the server does not take it.
    """
    mlflow = _mlflow()
    info = json.loads((model / "training.json").read_text(encoding="utf-8"))
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    try:
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        run = client.create_run(
            experiment_id, run_name=f"{info['arch']}, {', '.join(info['classes'])[:80]}"
        ).info.run_id
        for name, value in parameters(info, metrics).items():
            client.log_param(run, name, value)
        for name, number in measured(metrics).items():
            client.log_metric(run, name, number)
        for epoch, row in enumerate(info["history"], 1):
            for name, number in row.items():
                client.log_metric(run, name, number, step=epoch)
        for folder in (model, evaluation, *([exported] if exported else [])):
            for file in sorted(folder.iterdir()):
                if file.name != "stamp.json":
                    client.log_artifact(run, str(file))
        client.set_terminated(run)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise TrackingError(
            f"the tracking address is {address!r}, expected an MLflow server that answers there ({error}); "
            "start one with "
            "`mlflow server`, or leave the address empty: everything is on disk as JSON too"
        ) from error
    return str(run)


def parameters(info: dict[str, Any], metrics: dict[str, Any]) -> dict[str, str]:
    """What the model was made with."""
    own = {name: str(info[name]) for name in ("arch", "recipe", "epochs", "seed", "image_size")}
    counts = {f"pictures_{side}": str(sum(by.values())) for side, by in metrics["data"]["counts"].items()}
    return (
        own | counts | {"classes": ", ".join(info["classes"])[:500], "data_digest": metrics["data"]["digest"]}
    )


def measured(metrics: dict[str, Any]) -> dict[str, float]:
    """The numbers of metrics.json by names that MLflow takes; what could not be measured is left out."""
    values = {name: metrics[name] for name in MEASURED}
    for label, row in metrics["per_class"].items():
        name = re.sub(r"[^\w\-. /]", "_", label)
        values |= {f"precision/{name}": row["precision"], f"recall/{name}": row["recall"]}
    return {name: float(value) for name, value in values.items() if value is not None}


def write_model(release: Path, out: Path) -> None:
    """Write a folder with model.onnx and model.json as an MLflow model into the new folder `out`. `mlflow
    models predict` and `serve` answer from it: a column `picture` of base64 bytes in, `label` and a column a
    class out.

    Raises TrackingError if MLflow is not installed.
    """
    mlflow = _mlflow()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "greenr_luigi"
        package.mkdir()
        for name in NEEDED:
            shutil.copy(Path(__file__).parents[1] / name, package)
        mlflow.pyfunc.save_model(
            str(out),
            python_model=str(SCORER),
            artifacts={name: str(release / name) for name in ("model.onnx", "model.json")},
            code_paths=[str(package)],
            pip_requirements=["onnxruntime", "pillow", "numpy", "pandas"],
        )


def _mlflow() -> Any:
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError as error:
        raise TrackingError(
            f"a tracking address is set and MLflow is not installed ({error}); `pip install "
            "'greenr_luigi[mlflow]'`, or "
            "leave the address empty"
        ) from error
    return mlflow
