"""How good a model is on the pictures of the side `test`: its weights, temperature, threshold and least familiarity owe
them nothing. Two later choices look at the same pictures: whether its form in 8-bit integers is offered
(quantization.py), and whether it may take the place of the one that serves (gate.py)."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation import calibration, familiarity, report
from greenr_luigi.evaluation.calibration import Floats, Ints
from greenr_luigi.pictures.manifest import SplitRow
from greenr_luigi.progress import OnProgress
from greenr_luigi.training.saved_model import DataSetError, load, write_json

#: The fraction of pictures of the known classes that get an answer. Threshold and familiarity let half each of the
#: others go.
COVERAGE = 0.95
EACH = 1 - (1 - COVERAGE) / 2


def evaluate(dataset: Path, model: Path, out: Path, *, on_progress: OnProgress, command: str = "") -> None:
    """Judge a TrainModel folder on a SplitDataset folder: write `metrics.json`, `predictions.csv`,
    `suspects.csv` (on every side, pictures whose label is probably wrong), `centers.npy` (familiarity.centers of the
    training pictures) and `report.html` into the folder `out`. Temperature, threshold and the least familiarity come
    from the side "valid", all other metrics from the side "test".
    `command` is the line that reproduces the model, for the report.

    Raises DataSetError if the side "test" is empty or there is a class that the model does not know.
    """
    rows = pixels.rows(dataset, "train", "valid", "test")

    import torch

    from greenr_luigi.evaluation import label_issues
    from greenr_luigi.training import features

    learn, info = load(model)
    classes = info["classes"]
    check(dataset, rows, classes)
    paths = [dataset / row.file for row in rows]
    seen = features.pooled(
        learn, paths, info["image_size"], info["mean"], info["std"], lambda f, w: on_progress(0.7 * f, w)
    )
    with torch.inference_mode():
        head = learn.model[1].cpu().eval()
        found = torch.cat([head(part) for part in torch.split(seen, 1024)]).numpy().astype(np.float64)
    held = np.array([row.side != "train" for row in rows])
    held_rows = [row for row in rows if row.side != "train"]
    labels = np.array([classes.index(row.label) for row in rows], np.int64)
    flat = seen.flatten(1).numpy()
    known = familiarity.centers(flat[~held], labels[~held])
    familiar = familiarity.familiarity(flat[held], known)
    np.save(out / "centers.npy", known)
    metrics = measure(classes, held_rows, found[held], familiar) | {"data": data(rows), "command": command}
    write_predictions(out / "predictions.csv", classes, held_rows, found[held], familiar)
    write_json(out / "metrics.json", metrics)

    on_progress(0.75, "looking for wrong labels")
    doubtful: list[label_issues.Suspect] = []
    if np.bincount(labels, minlength=len(classes)).min() > 1:
        doubtful = label_issues.find(rows, label_issues.out_of_fold(seen, labels, info["seed"]), classes)
    label_issues.write(out / "suspects.csv", doubtful)
    on_progress(0.95, "writing the report")
    report.write(out / "report.html", dataset, model, out)
    on_progress(1, f"accuracy {metrics['accuracy']:.1%} on {metrics['pictures']['test']} held-out pictures")


def check(dataset: Path, rows: list[SplitRow], classes: list[str]) -> None:
    if not any(row.side == "test" for row in rows):
        raise DataSetError(
            f"{dataset}: no picture is on the side 'test', expected at least one; ask for more pictures"
        )
    unknown = sorted({row.label for row in rows} - set(classes))
    if unknown:
        raise DataSetError(
            f"{dataset}: the model does not know {unknown}, it knows {classes}; train it on this data set"
        )


def measure(
    classes: list[str], rows: list[SplitRow], found: Floats, familiar: familiarity.Features
) -> dict[str, Any]:
    """The metrics of logits (pictures, classes) and familiarity (pictures,) for the rows: test pictures only, after the
    temperature and with the threshold and least familiarity that the validation pictures ask for. Rates are fractions,
    the confusion matrix has a row a true class."""
    labels = np.array([classes.index(row.label) for row in rows], np.int64)
    valid, test = (np.array([row.side == side for row in rows]) for side in ("valid", "test"))
    temperature = calibration.temperature(found[valid], labels[valid])
    threshold = calibration.threshold(calibration.softmax(found[valid], temperature), EACH)
    least = calibration.least(familiar[valid], EACH) if valid.any() else -1.0
    probabilities = calibration.softmax(found[test], temperature)
    truth = labels[test]
    said = probabilities.argmax(1)
    wrong = int((said != truth).sum())
    known = familiar[test] >= least
    answered = (probabilities.max(1) >= threshold) & known
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (truth, said), 1)
    return {
        "classes": classes,
        "pictures": {"valid": int(valid.sum()), "test": int(test.sum())},
        "accuracy": 1 - wrong / len(truth),
        "error": wrong / len(truth),
        "error_interval": calibration.wilson(wrong, len(truth)),
        "per_class": per_class(classes, confusion),
        "confusion": confusion.tolist(),
        "temperature": temperature,
        "threshold": threshold,
        "familiarity": least,
        "unfamiliar": float((~known).mean()),
        "coverage_asked": COVERAGE,
        "coverage": float(answered.mean()),
        "error_of_answered": float((said != truth)[answered].mean()) if answered.any() else None,
        "loss": calibration.loss(probabilities, truth),
        "calibration_error": calibration.expected_calibration_error(probabilities, truth),
        "calibration_error_before": calibration.expected_calibration_error(
            calibration.softmax(found[test]), truth
        ),
        "reliability": [row._asdict() for row in calibration.reliability(probabilities, truth)],
    }


def per_class(classes: list[str], confusion: Ints) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall and number of test pictures of each class; None where nothing can be divided."""
    right, truly, called = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return {
        label: {
            "precision": float(right[i] / called[i]) if called[i] else None,
            "recall": float(right[i] / truly[i]) if truly[i] else None,
            "pictures": int(truly[i]),
        }
        for i, label in enumerate(classes)
    }


def data(rows: list[SplitRow]) -> dict[str, Any]:
    """Counts by side and class, and one digest over which picture is called what on which side."""
    digest = hashlib.sha256("".join(f"{r.side}\t{r.label}\t{r.sha256}\n" for r in rows).encode()).hexdigest()
    counts = Counter((row.side, row.label) for row in rows)
    labels = sorted({row.label for row in rows})
    return {
        "digest": digest,
        "counts": {s: {label: counts[s, label] for label in labels} for s in ("train", "valid", "test")},
    }


def write_predictions(
    path: Path, classes: list[str], rows: list[SplitRow], found: Floats, familiar: familiarity.Features
) -> None:
    """A line a picture with its familiarity and logits to six digits, sorted by file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f"logit:{label}" for label in classes]
        writer.writerow(["file", "label", "side", "predicted", "familiarity", *names])
        for row, values, near in zip(rows, found, familiar, strict=True):
            numbers = (f"{value:.6g}" for value in (near, *values))
            writer.writerow([row.file, row.label, row.side, classes[int(values.argmax())], *numbers])


def read_predictions(path: Path) -> tuple[list[str], list[dict[str, str]], Floats]:
    """The classes, the rows (file, label, side, predicted, familiarity) and the logits (pictures, classes) of
    `predictions.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    columns = [name for name in (lines[0] if lines else {}) if name.startswith("logit:")]
    found = np.array([[float(line[c]) for c in columns] for line in lines], np.float64).reshape(
        len(lines), len(columns)
    )
    return [c.removeprefix("logit:") for c in columns], lines, found
