"""Label issues: pictures whose label is probably wrong, found without a person looking at all of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from greenr_luigi import cores, tables
from greenr_luigi.contracts import Name
from greenr_luigi.dataset.rows import LabelRow, class_numbers
from greenr_luigi.evaluation.calibration import Ints
from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.evaluation.predictions import Floats
from greenr_luigi.pictures import manifest

NAME = "label_issues.csv"
#: What an evaluation of an earlier version calls it.
EARLIER_NAME = "suspects.csv"
#: scikit-learn's C; docs/benchmarks.md has what planted labels say of it.
REGULARIZATION = 1e-3
#: From how many pictures a model learns at most, so that memory does not grow with them; and of how many the features
#: are copied at once.
MOST, AT_ONCE = 20_000, 4096


@dataclass(frozen=True)
class LabelIssue:
    """A picture, the label it has, and, by a model that did not learn from it, the most probable label and the
    probability of its own."""

    file: Name
    label: str
    suggested: str
    probability: float


def out_of_fold_probabilities(features: Features, labels: Ints, fold: Ints) -> Floats:
    """Probabilities (pictures, classes) of each picture from a model that was fitted on the other folds only
    (training/folds.py); NaN for one that is in none. Each class has a picture beside each fold.

    The model is a logistic regression on the features (pictures, features). It is regularized so strongly that it
    cannot learn a wrong label by heart, and so finds more of them than the heads of the cross-validation do
    (docs/benchmarks-appendix.md, Wrong labels).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    found = np.full((len(labels), len(np.unique(labels))), np.nan)

    def judge(k: int) -> None:
        rest, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        chosen = _evenly_of_each(rest, labels)
        # So much for each picture as if all were learned from.
        model = LogisticRegression(C=REGULARIZATION * len(rest) / len(chosen), max_iter=500)
        x, scaler = features[chosen], StandardScaler(copy=False)
        # Of all at once, it would make an array of twice their size.
        for start in range(0, len(x), AT_ONCE):
            scaler.partial_fit(x[start : start + AT_ONCE])
        model.fit(scaler.transform(x), labels[chosen])
        for start in range(0, len(held), AT_ONCE):
            some = held[start : start + AT_ONCE]
            found[some] = model.predict_proba(scaler.transform(features[some]))

    # So little arithmetic is ten times slower on two threads, which mostly wait for each other: each takes a fold, but
    # for where one fills the memory.
    at_once = min(cores.allowed(), max(1, MOST // max(1, len(fold))))
    with threadpool_limits(1), ThreadPoolExecutor(at_once) as pool:
        [*pool.map(judge, np.unique(fold[fold >= 0]))]
    return found


def _evenly_of_each(places: Ints, labels: Ints) -> Ints:
    """At most MOST of some places, evenly of the whole of them, and beside these the first of each class."""
    if len(places) <= MOST:
        return places
    _, first = np.unique(labels[places], return_index=True)
    return places[np.union1d(np.arange(MOST) * len(places) // MOST, first)]


def find_label_issues(
    rows: Sequence[LabelRow], probabilities: Floats, classes: list[str]
) -> list[LabelIssue]:
    """Pictures whose most probable class, by out-of-fold probabilities (pictures, classes), is not their label; the
    one with the least probable label first. cleanlab finds them.

    A person looks at each, so missing one costs more than showing one too many. Hence not confident learning's own
    rule (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021): it names
    fewer, and none where labels are nearly clean (docs/benchmarks.md).
    """
    from cleanlab import filter as confident_learning

    labels = np.array(class_numbers(rows, classes))
    options = {"filter_by": "predicted_neq_given", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    ranked = confident_learning.find_label_issues(labels, probabilities, **options)
    suggested = [classes[number] for number in probabilities.argmax(1)]
    return [
        LabelIssue(rows[i].file, rows[i].label, suggested[i], float(probabilities[i, labels[i]]))
        for i in ranked
    ]


def write_label_issues(evaluation: Path, issues: list[LabelIssue]) -> None:
    """The file `label_issues.csv` of an EvaluateModel folder."""
    tables.write(evaluation / NAME, [field.name for field in fields(LabelIssue)], map(astuple, issues))


def read_label_issues(evaluation: Path) -> list[LabelIssue]:
    """Of an EvaluateModel folder, the least probable label first."""
    path = evaluation / NAME
    return manifest.read_csv(path if path.exists() else evaluation / EARLIER_NAME, LabelIssue)
