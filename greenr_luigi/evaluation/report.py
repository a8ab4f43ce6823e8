"""One self-contained page about a model that a person would like to read."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import shlex
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from greenr_luigi.evaluation import calibration
from greenr_luigi.evaluation.comparison import Verdict
from greenr_luigi.paths import TEMPLATES
from greenr_luigi.pictures import door
from greenr_luigi.pictures.manifest import label_name

THUMBNAIL = 224
#: What of the command that made the data set a reader wants to know without reading the command.
ASKED = {
    "source": "pictures from",
    "limit": "asked for a class",
    "license": "licence asked for",
    "valid-share": "share to choose by",
    "test-share": "share to test with",
}
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "pillow", "numpy", "cleanlab")
#: As many pictures of a kind are shown.
SHOWN = 24
#: With more classes a matrix of numbers is not read any more; the most frequent confusions are listed
#: instead.
MATRIX_CLASSES = 12


def write(
    file: Path,
    dataset: Path,
    model: Path,
    evaluation: Path,
    *,
    verdict: Verdict | None = None,
) -> None:
    """Write the report from the folders of SplitDataset, TrainModel and EvaluateModel (its JSON and CSV
    files).

    verdict: the gate's, when the model has been judged. The same folders give the same bytes: no times, no paths."""
    info = json.loads((model / "training.json").read_text(encoding="utf-8"))
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    suspects = _table(evaluation / "suspects.csv")
    context = {
        "info": info,
        "metrics": metrics,
        "versions": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        "verdict": verdict,
        "changes": changes(dataset, evaluation, verdict),
        "title": _title(metrics["classes"]),
        "summary": summary(metrics, len(suspects)),
        "suspects": [
            s
            | {
                "picture": thumbnail(dataset / s["file"]),
                "name": Path(s["file"]).stem,
                "held_out": _side(s["file"]) == "test",
            }
            for s in suspects[:SHOWN]
        ],
        "suspects_in_all": len(suspects),
        "suspects_held_out": sum(_side(s["file"]) == "test" for s in suspects),
        "remedies": remedies(suspects[0]) if suspects else [],
        "mistakes": mistakes(dataset, evaluation, metrics["temperature"]),
        "confusions": confusions(metrics),
        "matrix": len(metrics["classes"]) <= MATRIX_CLASSES,
        "curves": curves(info["history"]),
        "excluded": excluded(dataset),
        "refused": refused(dataset),
        "asked": asked(metrics.get("command", "")),
        "shown": SHOWN,
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    file.write_text(environment.get_template("report.html").render(context), encoding="utf-8")


def percent(fraction: float | None, digits: int = 1) -> str:
    """In per cent; the sign never stands alone on the next line."""
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}\N{NO-BREAK SPACE}%"


def remedies(suspect: dict[str, str]) -> list[str]:
    """What to type about a suspect; whatever its label holds, a shell and argparse take it as it is."""
    name, label = Path(suspect["file"]).stem, suspect["suggested"]
    options_end = ["--"] if label.startswith("-") else []
    return [
        "greenr review",
        shlex.join(["greenr", "reject", name]),
        shlex.join(["greenr", "relabel", *options_end, label, name]),
    ]


def asked(command: str) -> list[tuple[str, str]]:
    """What the command that reproduces the model asked of the pictures, with what to call it."""
    words = shlex.split(command)
    given = dict(itertools.pairwise(words))
    if given.get("--limit") == "0":
        given["--limit"] = "all of a folder, 200 of a search engine"
    return [(title, given[f"--{name}"]) for name, title in ASKED.items() if f"--{name}" in given]


def _title(classes: list[str]) -> str:
    if len(classes) <= 4:
        return ", ".join(classes[:-1]) + " or " + classes[-1] + "?"
    return f"{classes[0]}, {classes[1]} … {classes[-1]}: {len(classes)} classes"


def summary(metrics: dict[str, Any], suspects: int) -> list[str]:
    """What the numbers say, in sentences."""
    n, wrong = metrics["pictures"]["test"], round(metrics["error"] * metrics["pictures"]["test"])
    low, high = metrics["error_interval"]
    lines = [
        f"Of {n:,} pictures that it had never seen, the model names {n - wrong:,} rightly: "
        f"{percent(metrics['accuracy'])}. "
        f"With so many pictures, its true error rate lies between {percent(low)} and {percent(high)} "
        f"({percent(0.95, 0)} confidence)."
    ]
    worst = confusions(metrics)[:1]
    if worst:
        c = worst[0]
        times = "once" if c["times"] == 1 else f"{c['times']} times"
        lines.append(
            f"Its most frequent mistake is to take {c['truth']} for {c['said']}: {times} in {c['of']}."
        )
    gap = metrics["calibration_error"]
    lines.append(
        f"When it says how sure it is, it is off by {percent(gap)} on average"
        f"{'' if gap < 0.05 else ' (or seems so: it takes many pictures to measure that)'}. Below "
        f"{percent(metrics['threshold'], 0)}, and of a picture that is like none it has learned from, it says “I can’t "
        "tell”; it answers for "
        f"{percent(metrics['coverage'], 0)} of the "
        f"pictures and is wrong on {percent(metrics['error_of_answered'])} of those."
    )
    if suspects:
        them, first = ("it", "") if suspects == 1 else ("them", ", the most doubtful first")
        pictures = "1 picture" if suspects == 1 else f"{suspects:,} pictures"
        lines.append(
            f"A model that had not seen {them} disagrees with the label of {pictures}; look at {them}{first}: "
            "either may be wrong."
        )
    return lines


def confusions(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Each pair of classes that was confused, the most frequent first."""
    classes, matrix = metrics["classes"], metrics["confusion"]
    found = [
        {"truth": truth, "said": said, "times": matrix[i][j], "of": sum(matrix[i])}
        for i, truth in enumerate(classes) for j, said in enumerate(classes) if i != j and matrix[i][j]
    ]  # fmt: skip
    return sorted(found, key=lambda c: -c["times"])


def mistakes(dataset: Path, evaluation: Path, temperature: float) -> list[dict[str, Any]]:
    """Held-out pictures that are called something else, the surest first."""
    from greenr_luigi.evaluation.evaluate import read_predictions

    _, rows, logits = read_predictions(evaluation / "predictions.csv")
    sure = calibration.softmax(logits, temperature).max(1)
    wrong = [i for i, row in enumerate(rows) if row["side"] == "test" and row["label"] != row["predicted"]]
    wrong.sort(key=lambda i: (-sure[i], rows[i]["file"]))
    return [
        {
            "label": rows[i]["label"],
            "predicted": rows[i]["predicted"],
            "probability": float(sure[i]),
            "picture": thumbnail(dataset / rows[i]["file"]),
            "name": Path(rows[i]["file"]).stem,
        }
        for i in wrong[:SHOWN]
    ]


def changes(dataset: Path, evaluation: Path, verdict: Verdict | None) -> list[dict[str, Any]]:
    """The held-out pictures that only one of two compared models names rightly, with a heading each, their labels and
    the new model's answers."""
    from greenr_luigi.evaluation.evaluate import read_predictions

    if verdict is None or verdict.comparison is None:
        return []
    said = {row["file"]: row["predicted"] for row in read_predictions(evaluation / "predictions.csv")[1]}
    kinds = (("Newly wrong", verdict.comparison.worse), ("Newly right", verdict.comparison.better))
    return [
        {
            "heading": heading,
            "all": len(files),
            "pictures": [
                {
                    "label": label_name(Path(file).parent.name),
                    "predicted": said[file],
                    "picture": thumbnail(dataset / file),
                    "name": Path(file).stem,
                }
                for file in files[: SHOWN // 2]
            ],
        }
        for heading, files in kinds
        if files
    ]


def thumbnail(path: Path) -> str:
    """A small JPEG of a picture as a data address."""
    image = door.open_picture(path.read_bytes(), at_least=THUMBNAIL)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def curves(history: list[dict[str, float]]) -> dict[str, Any]:
    """Loss on training and validation pictures by epoch as points of a 300 x 120 drawing, and the scale's
    top."""
    top = max([row[name] for row in history for name in ("train_loss", "valid_loss")] + [1e-9])

    def points(name: str) -> str:
        xs = np.linspace(0, 300, len(history)) if len(history) > 1 else np.array([150.0])
        return " ".join(
            f"{x:.1f},{120 - 120 * row[name] / top:.1f}" for x, row in zip(xs, history, strict=True)
        )

    return {"top": top, "train": points("train_loss"), "valid": points("valid_loss"), "last": history[-1]}


def excluded(dataset: Path) -> list[tuple[str, int]]:
    """How many pictures were left out of the data set, by reason, the most frequent first."""
    path = dataset / "excluded.csv"
    return Counter(row["reason"] for row in _table(path)).most_common() if path.exists() else []


def refused(dataset: Path) -> list[dict[str, Any]]:
    """What of a person's files was not taken, by class and reason (cleaning.refused), the most frequent first."""
    path = dataset / "refused.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return sorted(found, key=lambda kind: -int(kind["count"]))


def _side(file: str) -> str:
    """The side on which a picture of the data set stands; its files lie by it."""
    return file.split("/")[0]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
