"""How good a model is: by cross-validation on all pictures that are not for testing, which say what its temperature,
threshold and least familiarity are; and on the test pictures, which had no part in any of this. Only whether it may
take the place of the one that serves (deployment/gate.py) is decided by the latter."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from greenr_luigi import contracts, imports
from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.pixels import DataSetError
from greenr_luigi.dataset.rows import LabelRow, class_numbers, read_labels
from greenr_luigi.evaluation import calibration, familiarity, label_issues, predictions, report
from greenr_luigi.evaluation.calibration import Ints
from greenr_luigi.evaluation.metrics import ClassMetrics, CrossValidation, DataCounts, HeldOutCounts, Metrics
from greenr_luigi.evaluation.predictions import Floats, Predictions
from greenr_luigi.inference import is_answer
from greenr_luigi.intervals import wilson
from greenr_luigi.progress import OnProgress, part
from greenr_luigi.text import percent

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
    `predictions.csv` (of the pictures that the model has not learned from), `label_issues.csv` (pictures of every
    side), `centers.npy` (familiarity.class_centers of those that it has learned from) and `report.html`; of a model
    that was cross-validated `out_of_fold.csv` and `fold_centers.npy` (familiarity.centers_by_fold), too. Returns what
    the first holds. `command` is the line that makes the model again, for the report. `root`: a data root, where
    features stay (training/features.py).

    Raises DataSetError if there is nothing to judge by, or a class or pictures that the model does not know.
    """
    with imports.garbage_left():
        import torch

        from greenr_luigi.training import architectures, features, folds, linear_head

    judged = folds.load(model)
    train, test = read_labels(dataset, "train"), pixels.read_rows(dataset, "test")
    valid = (read_labels if judged else pixels.read_rows)(dataset, "valid")
    rows = train + valid + test
    learn, training = architectures.load_model(model)
    classes = training.classes
    if unknown := sorted({row.label for row in rows} - set(classes)):
        raise DataSetError(
            f"{dataset}: the model does not know {unknown}, it knows {classes}; train it on this data set"
        )
    if judged and len(judged.fold) != len(train) + len(valid):
        raise DataSetError(
            f"{dataset}: {len(train) + len(valid)} pictures are not for testing, and the model has learned from "
            f"{len(judged.fold)}; train it on this data set"
        )
    pooled = features.pooled(
        learn, [dataset / row.file for row in rows], training, part(on_progress, 0, 0.7), root=root
    )
    labels, flat = np.array(class_numbers(rows, classes), np.int64), pooled.flatten(1).numpy()
    #: The first ones are those that the model has learned from.
    learned = len(train) + (len(valid) if judged else 0)
    out_of_fold, parts = None, 0
    with torch.inference_mode(), linear_head.on_one_thread():
        head = learn.model[1].cpu().eval()
        logits = torch.cat([head(some) for some in torch.split(pooled[learned:], folds.AT_ONCE)]).numpy()
        centers = familiarity.class_centers(flat[:learned], labels[:learned])
        near = familiarity.familiarity(flat[learned:], centers)
        held_out = predictions.of_rows(rows[learned:], classes, logits, near)
        if judged:
            fold, which = judged.fold, np.flatnonzero(judged.judged)
            fold_centers = familiarity.centers_by_fold(flat[:learned], labels[:learned], fold, folds.FOLDS)
            said, near = judged.logits(pooled), familiarity.out_of_fold(flat, fold_centers, fold)
            out_of_fold = predictions.of_rows([rows[i] for i in which], classes, said[which], near[which])
            parts = len(folds.numbers(fold))
            np.save(out / "fold_centers.npy", fold_centers)
            predictions.write_predictions(out / predictions.OUT_OF_FOLD, out_of_fold)
    metrics = measure(held_out, count_data(rows), command, out_of_fold, parts)
    np.save(out / "centers.npy", centers)
    predictions.write_predictions(out / predictions.HELD_OUT, held_out)
    contracts.write(out / "metrics.json", metrics)

    on_progress(0.75, "looking for wrong labels")
    fold = folds.of_rows(rows, classes, training.seed)
    doubted, issues = np.flatnonzero(fold != folds.ALWAYS), list[label_issues.LabelIssue]()
    if len(np.unique(labels[doubted])) == len(classes):
        probabilities = label_issues.out_of_fold_probabilities(flat, labels, fold)[doubted]
        issues = label_issues.find_label_issues([rows[i] for i in doubted], probabilities, classes)
    label_issues.write_label_issues(out, issues)
    on_progress(0.95, "writing the report")
    report.write_report(out / "report.html", dataset, model, out, root=root)
    on_progress(1, f"accuracy {percent(metrics.accuracy, 1)} on {metrics.pictures.test} held-out pictures")
    return metrics


def measure(
    held_out: Predictions,
    data: DataCounts,
    command: str = "",
    out_of_fold: Predictions | None = None,
    folds: int = 0,
) -> Metrics:
    """The metrics of the test pictures, with the temperature, threshold and least familiarity that the pictures of a
    cross-validation in so many folds ask for; without one, the validation pictures."""
    classes = held_out.classes
    valid, test = (predictions.of_side(held_out, side) for side in ("valid", "test"))
    choosing = out_of_fold or valid
    temperature = calibration.fit_temperature(choosing.logits, choosing.labels)
    certain = calibration.softmax(choosing.logits, temperature)
    threshold = calibration.threshold(certain.max(1), COVERAGE_OF_EACH)
    least_familiarity = calibration.threshold(choosing.familiarity, COVERAGE_OF_EACH)
    truth, probabilities = test.labels, calibration.softmax(test.logits, temperature)
    predicted = probabilities.argmax(1)
    wrong = predicted != truth
    error = float(wrong.mean())
    answered = is_answer(probabilities.max(1), test.familiarity, threshold, least_familiarity)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    uncalibrated = calibration.softmax(test.logits)
    return Metrics(
        classes=classes,
        pictures=HeldOutCounts(len(valid.rows), len(test.rows)),
        accuracy=1 - error,
        error=error,
        error_interval=wilson(int(wrong.sum()), len(truth)),
        per_class=class_metrics(classes, confusion),
        confusion=[
            {place: row[place] for place in np.flatnonzero(row).tolist()} for row in confusion.tolist()
        ],
        temperature=temperature,
        threshold=threshold,
        familiarity=least_familiarity,
        unfamiliar=float((test.familiarity < least_familiarity).mean()),
        coverage_asked=COVERAGE,
        coverage=float(answered.mean()),
        error_of_answered=float(wrong[answered].mean()) if answered.any() else None,
        loss=calibration.negative_log_likelihood(probabilities, truth),
        calibration_error=calibration.expected_calibration_error(probabilities, truth),
        calibration_error_before=calibration.expected_calibration_error(uncalibrated, truth),
        reliability=calibration.reliability(probabilities, truth),
        data=data,
        command=command,
        cross_validation=cross_validation(certain, choosing.labels, folds) if out_of_fold else None,
    )


def cross_validation(probabilities: Floats, labels: Ints, folds: int) -> CrossValidation:
    """Of out-of-fold probabilities (pictures, classes)."""
    wrong = probabilities.argmax(1) != labels
    return CrossValidation(
        folds=folds,
        pictures=len(labels),
        error=float(wrong.mean()),
        error_interval=wilson(int(wrong.sum()), len(labels)),
        loss=calibration.negative_log_likelihood(probabilities, labels),
        calibration_error=calibration.expected_calibration_error(probabilities, labels),
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
