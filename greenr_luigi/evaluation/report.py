"""One self-contained page that tells a person how good a model is."""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi import contracts, templating
from greenr_luigi.dataset.rows import SplitNote, read_excluded, read_note, read_refused
from greenr_luigi.evaluation import calibration
from greenr_luigi.evaluation.comparison import Verdict
from greenr_luigi.evaluation.label_issues import LabelIssue, read_label_issues
from greenr_luigi.evaluation.metrics import Metrics, confusions, worst
from greenr_luigi.evaluation.predictions import HELD_OUT, Prediction, Predictions, read_predictions
from greenr_luigi.evaluation.trend import trend
from greenr_luigi.pictures.thumbnail import address_of
from greenr_luigi.pictures.thumbnails import Thumbnails
from greenr_luigi.run_history import Event
from greenr_luigi.staleness import regular
from greenr_luigi.training.saved_model import Epoch, Training

#: Options of the command that a reader wants to know without reading it, and what the page calls them.
OPTIONS = {
    "source": "pictures from",
    "limit": "asked for a class",
    "license": "licence asked for",
    "valid-share": "validation share",
    "test-share": "test share",
    "group": "groups by",
}
#: What a reader calls the sides.
NAMES = {"train": "training", "valid": "validation", "test": "test"}
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "pillow", "numpy", "cleanlab")


def write_report(
    file: Path,
    dataset: Path,
    model: Path,
    evaluation: Path,
    *,
    verdict: Verdict | None = None,
    judged: Sequence[Event] = (),
    warnings: Sequence[str] = (),
    root: Path | None = None,
) -> None:
    """Write the report from the folders of SplitDataset, TrainModel and EvaluateModel (its JSON and CSV files).
    `verdict`: the gate's, once it has judged the model; `judged`: this and the models before it, as run_history.judged
    gives them; `warnings`: what earlier stages went on without. `root`: a data root, where thumbnails stay. The same
    folders give the same bytes: no times, no paths."""
    training = contracts.read(model / "training.json", Training)
    metrics = contracts.read(evaluation / "metrics.json", Metrics)
    predictions = read_predictions(evaluation / HELD_OUT)
    issues, thumbnails = read_label_issues(evaluation), Thumbnails(root)
    note = read_note(dataset)

    def picture(file: str) -> dict[str, str]:
        """A small copy of a picture of the data set, its name, and its side, the first folder of its path."""
        small = thumbnails.get(Path(file).stem, lambda: regular.read(dataset / file))
        return {"src": address_of(small), "name": Path(file).stem, "side": Path(file).parts[0]}

    context = {
        "training": training,
        "metrics": metrics,
        "verdict": verdict,
        "warnings": warnings,
        "trend": trend(judged),
        "picture": picture,
        "issues": issues,
        "issues_in_test": sum(issue.file.startswith("test/") for issue in issues),
        "remedies": remedies(issues[0]) if issues else [],
        "predictions": {row.file: row for row in predictions.rows},
        "mistakes": mistakes(predictions, metrics.temperature),
        "confusions": confusions(metrics, metrics.classes),
        "found_least": worst(metrics, 24),
        "curves": curves(training.history),
        "excluded": Counter(row.reason for row in read_excluded(dataset)).most_common(),
        "refused": sorted(read_refused(dataset), key=lambda kind: -kind.count),
        "split": split_words(note),
        "folder": note.folder if note else None,
        "options": options(metrics.command),
        "versions": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }
    page = templating.environment().get_template("report.html").render(context)
    file.write_text(page, encoding="utf-8")


def remedies(issue: LabelIssue) -> list[str]:
    """The commands to type about a label issue, quoted: a label may hold anything, such as a dash in front."""
    name, label = Path(issue.file).stem, issue.suggested
    options_end = ["--"] if label.startswith("-") else []
    relabel = shlex.join(["greenr", "relabel", *options_end, label, name])
    return ["greenr review", shlex.join(["greenr", "reject", name]), relabel]


def options(command: str) -> list[tuple[str, str]]:
    """What the command that makes the model again asks of the pictures: what the page calls it, and the value."""
    given = dict(itertools.pairwise(shlex.split(command)))
    if given.get("--limit") == "0":
        given["--limit"] = "all of a folder, 200 of a search engine"
    return [(words, given[f"--{name}"]) for name, words in OPTIONS.items() if f"--{name}" in given]


def split_words(note: SplitNote | None) -> str:
    """By what rule the pictures stand on their sides, and how many; empty for a data set that does not tell."""
    if note is None:
        return ""
    words = "The split is ours: a picture’s side follows from its look and the seed."
    if note.given:
        words = f"The split is the one that was given: {_by_side(note.given)}."
    if note.held_out:
        words += f" Of what was given for training, our rule held out {_by_side(note.held_out)}."
    if note.given and note.ours:
        words += f" Given no side, and divided by our rule: {_by_side(note.ours)}."
    if note.groups:
        words += f" {note.grouped} of the pictures are in {note.groups} groups, each on one side."
    return words


def _by_side(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{counts[side]} {name}" for side, name in NAMES.items() if counts.get(side)) + " pictures"
    )


def mistakes(predictions: Predictions, temperature: float) -> list[tuple[Prediction, float]]:
    """Wrongly named test pictures, each with the probability of the class it was given, the highest first."""
    sure = calibration.softmax(predictions.logits, temperature).max(1).tolist()
    rows = zip(predictions.rows, sure, strict=True)
    wrong = [(row, p) for row, p in rows if row.side == "test" and row.label != row.predicted]
    return sorted(wrong, key=lambda mistake: (-mistake[1], mistake[0].file))


def curves(history: list[Epoch]) -> dict[str, Any]:
    """Loss on training and validation pictures by epoch as points of a 300 x 120 drawing, and the scale's top. Of one
    epoch nothing is drawn."""
    losses = {"train": [row.train_loss for row in history], "valid": [row.valid_loss for row in history]}
    top = max(*losses["train"], *losses["valid"], 1e-9)
    xs = np.linspace(0, 300, len(history))
    points = {
        side: " ".join(f"{x:.1f},{120 - 120 * loss / top:.1f}" for x, loss in zip(xs, values, strict=True))
        for side, values in losses.items()
    }
    return points | {"top": top, "last": history[-1]}
