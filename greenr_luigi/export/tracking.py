"""Each model as a run on an MLflow server, if a tracking address is set; and a release as an MLflow model. MLflow comes
with the extra `mlflow`."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenr_luigi import contracts
from greenr_luigi.about import PACKAGE
from greenr_luigi.errors import GreenrError
from greenr_luigi.evaluation.metrics import Metrics
from greenr_luigi.staleness import code
from greenr_luigi.training.saved_model import Training

EXPERIMENT = "greenr_luigi"
#: The module that MLflow runs a model from. What it imports of this project is copied with it; these it needs besides.
SCORER = "greenr_luigi.export.mlflow_scorer"
REQUIREMENTS = ["onnxruntime", "pillow", "numpy", "pandas", "msgspec"]


class TrackingError(GreenrError):
    """A model could not be tracked."""


def track(address: str, model: Path, evaluation: Path, exported: Path) -> str:
    """Make a run on the MLflow server at `address` (http://..., or sqlite:///...) from the folders of TrainModel,
    EvaluateModel and ExportModel. It holds parameters, metrics, the loss by epoch, and the files as artifacts. Returns
    its id.

    Raises TrackingError if MLflow is not installed or the server does not take it.
    """
    mlflow = import_mlflow()
    training = contracts.read(model / "training.json", Training)
    metrics = contracts.read(evaluation / "metrics.json", Metrics)
    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)
    try:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        run = client.create_run(
            number, run_name=f"{training.arch}, {', '.join(training.classes)[:80]}"
        ).info.run_id
        for name, text in parameters(training, metrics).items():
            client.log_param(run, name, text)
        for name, value in measured(metrics).items():
            client.log_metric(run, name, value)
        for epoch, row in enumerate(training.history, 1):
            for name, value in asdict(row).items():
                client.log_metric(run, name, value, step=epoch)
        for folder in (model, evaluation, exported):
            for file in sorted(folder.iterdir()):
                if file.name != "stamp.json" and not file.is_symlink():
                    client.log_artifact(run, str(file))
        client.set_terminated(run)
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise TrackingError(
            f"the tracking address is {address!r}, expected an MLflow server that answers there ({error}); start one "
            "with `mlflow server`, or leave the address empty: everything is on disk as JSON too"
        ) from error
    return str(run)


def parameters(training: Training, metrics: Metrics) -> dict[str, str]:
    """What the model was made with."""
    own = {name: str(getattr(training, name)) for name in ("arch", "recipe", "epochs", "seed", "image_size")}
    counts = {f"pictures_{side}": str(sum(by.values())) for side, by in metrics.data.counts.items()}
    return own | counts | {"classes": ", ".join(training.classes)[:500], "data_digest": metrics.data.digest}


def measured(metrics: Metrics) -> dict[str, float]:
    """The rates of metrics.json by names that MLflow takes; what could not be measured is left out."""
    values = asdict(metrics)
    if metrics.cross_validation:
        values |= {
            f"cross_validation/{name}": value for name, value in asdict(metrics.cross_validation).items()
        }
    for label, row in metrics.per_class.items():
        name = re.sub(r"[^\w\-. /]", "_", label)
        values |= {f"precision/{name}": row.precision, f"recall/{name}": row.recall}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def write_model(release: Path, out: Path) -> None:
    """Make a new folder `out` with an MLflow model of a release (model.onnx and model.json). `mlflow models predict`
    and `mlflow models serve` answer from it (mlflow_scorer.Scorer), also where this project is not installed.

    Raises TrackingError if MLflow is not installed.
    """
    mlflow = import_mlflow()
    with tempfile.TemporaryDirectory() as folder:
        for name in code.sources([SCORER]):
            copy = Path(folder) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE.parent / name, copy)
        mlflow.pyfunc.save_model(
            str(out),
            python_model=str(Path(__file__).with_name("mlflow_scorer.py")),
            artifacts={name: str(release / name) for name in ("model.onnx", "model.json")},
            code_paths=[str(Path(folder) / PACKAGE.name)],
            pip_requirements=REQUIREMENTS,
        )


def import_mlflow() -> Any:
    try:
        import mlflow
        import mlflow.pyfunc
    except ImportError as error:
        raise TrackingError(
            f"a tracking address is set and MLflow is not installed ({error}); "
            "`pip install 'greenr_luigi[mlflow]'`, or leave the address empty"
        ) from error
    return mlflow
