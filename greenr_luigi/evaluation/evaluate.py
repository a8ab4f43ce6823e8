"""How good a model is on the test pictures, which had no part in its weights, temperature, threshold and least
familiarity. Two later choices look at the same pictures: whether its form in 8-bit integers is offered
(export/quantization.py), and whether it may take the place of the one that serves (deployment/gate.py)."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from greenr_luigi import contracts
from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.pixels import DataSetError
from greenr_luigi.dataset.rows import LabelRow
from greenr_luigi.evaluation import calibration, familiarity, label_issues, predictions, report
from greenr_luigi.evaluation.calibration import Ints
from greenr_luigi.evaluation.metrics import ClassMetrics, DataCounts, HeldOutCounts, Metrics
from greenr_luigi.evaluation.predictions import Prediction, Predictions
from greenr_luigi.inference import is_answer
from greenr_luigi.progress import OnProgress, part

#: The fraction of pictures of the known classes that shall get an answer. Threshold and least familiarity may each
#: leave half of the others without one.
COVERAGE = 0.95
COVERAGE_OF_EACH = 1 - (1 - COVERAGE) / 2


def evaluate(
    dataset: Path,
    model: Path,
    out: Path,
    *,
    on_progress: OnProgress,
    command: str = "",
    root: Path | None = None,
) -> Metrics:
    """Judge the model of a TrainModel folder by a SplitDataset folder. Writes into the folder `out`: `metrics.json`,
    `predictions.csv`, `label_issues.csv` (pictures of every side), `centers.npy` (familiarity.class_centers of the
    training pictures) and `report.html`; returns what the first holds. `command` is the line that makes the model
    again, for the report. `root`: a data root, where features stay (training/features.py).

    Raises DataSetError if a side is empty or there is a class that the model does not know.
    """
    rows = pixels.read_rows(dataset, "train", "valid", "test")

    import torch

    from greenr_luigi.training import architectures, features

    learn, training = architectures.load_model(model)
    classes = training.classes
    if unknown := sorted({row.label for row in rows} - set(classes)):
        raise DataSetError(
            f"{dataset}: the model does not know {unknown}, it knows {classes}; train it on this data set"
        )
    pooled = features.pooled(
        learn, [dataset / row.file for row in rows], training, part(on_progress, 0, 0.7), root=root
    )
    with torch.inference_mode():
        head = learn.model[1].cpu().eval()
        logits = torch.cat([head(some) for some in torch.split(pooled, 1024)]).numpy().astype(np.float64)
    labels = np.array([classes.index(row.label) for row in rows], np.int64)
    held_out = np.array([row.side != "train" for row in rows])
    flat = pooled.flatten(1).numpy()
    centers = familiarity.class_centers(flat[~held_out], labels[~held_out])
    cosines = familiarity.familiarity(flat, centers)
    predicted = [
        Prediction(row.file, row.label, row.side, classes[number], float(cosine))
        for row, number, cosine in zip(rows, logits.argmax(1), cosines, strict=True)
        if row.side != "train"
    ]
    measured = Predictions(classes, predicted, logits[held_out])
    metrics = measure(measured, count_data(rows), command)
    np.save(out / "centers.npy", centers)
    predictions.write_predictions(out / "predictions.csv", measured)
    contracts.write(out / "metrics.json", metrics)

    on_progress(0.75, "looking for wrong labels")
    issues: list[label_issues.LabelIssue] = []
    if np.bincount(labels, minlength=len(classes)).min() > 1:
        probabilities = label_issues.out_of_fold_probabilities(pooled, labels, training.seed)
        issues = label_issues.find_label_issues(rows, probabilities, classes)
    label_issues.write_label_issues(out, issues)
    on_progress(0.95, "writing the report")
    report.write_report(out / "report.html", dataset, model, out, root=root)
    on_progress(1, f"accuracy {metrics.accuracy:.1%} on {metrics.pictures.test} held-out pictures")
    return metrics


def measure(held_out: Predictions, data: DataCounts, command: str = "") -> Metrics:
    """The metrics of the test pictures, with the temperature, threshold and least familiarity that the validation
    pictures ask for."""
    classes, logits = held_out.classes, held_out.logits
    labels = np.array([classes.index(row.label) for row in held_out.rows], np.int64)
    familiar = np.array([row.familiarity for row in held_out.rows])
    valid, test = (np.array([row.side == side for row in held_out.rows]) for side in ("valid", "test"))
    temperature = calibration.fit_temperature(logits[valid], labels[valid])
    top_valid = calibration.softmax(logits[valid], temperature).max(1)
    threshold = calibration.threshold(top_valid, COVERAGE_OF_EACH)
    least_familiarity = calibration.threshold(familiar[valid], COVERAGE_OF_EACH)
    truth, probabilities = labels[test], calibration.softmax(logits[test], temperature)
    predicted = probabilities.argmax(1)
    wrong = predicted != truth
    error = float(wrong.mean())
    answered = is_answer(probabilities.max(1), familiar[test], threshold, least_familiarity)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    uncalibrated = calibration.softmax(logits[test])
    return Metrics(
        classes=classes,
        pictures=HeldOutCounts(int(valid.sum()), int(test.sum())),
        accuracy=1 - error,
        error=error,
        error_interval=calibration.wilson(int(wrong.sum()), len(truth)),
        per_class=class_metrics(classes, confusion),
        confusion=confusion.tolist(),
        temperature=temperature,
        threshold=threshold,
        familiarity=least_familiarity,
        unfamiliar=float((familiar[test] < least_familiarity).mean()),
        coverage_asked=COVERAGE,
        coverage=float(answered.mean()),
        error_of_answered=float(wrong[answered].mean()) if answered.any() else None,
        loss=calibration.negative_log_likelihood(probabilities, truth),
        calibration_error=calibration.expected_calibration_error(probabilities, truth),
        calibration_error_before=calibration.expected_calibration_error(uncalibrated, truth),
        reliability=calibration.reliability(probabilities, truth),
        data=data,
        command=command,
    )


def class_metrics(classes: list[str], confusion: Ints) -> dict[str, ClassMetrics]:
    """Precision and recall of each class from the confusion matrix, a row a true class."""
    counts = (confusion.diagonal(), confusion.sum(0), confusion.sum(1))
    rows = zip(classes, *(count.tolist() for count in counts), strict=True)
    return {
        label: ClassMetrics(right / named if named else None, right / true if true else None, true)
        for label, right, named, true in rows
    }


def count_data(rows: list[LabelRow]) -> DataCounts:
    """From the rows of all sides."""
    lines = "".join(f"{row.side}\t{row.label}\t{row.sha256}\n" for row in rows)
    counts = Counter((row.side, row.label) for row in rows)
    labels = sorted({row.label for row in rows})
    return DataCounts(
        hashlib.sha256(lines.encode()).hexdigest(),
        {side: {label: counts[side, label] for label in labels} for side in ("train", "valid", "test")},
    )
