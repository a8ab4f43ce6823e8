"""Whether a new model may take the place of the one that serves.

Both are run by ONNX Runtime, in 32-bit floats, on the same pictures, which neither has learned from. Neither torch nor
fastai is needed."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation.calibration import wilson
from greenr_luigi.files import read_json
from greenr_luigi.pictures.manifest import SplitRow
from greenr_luigi.training.saved_model import DataSetError

#: A model that is worse with this probability of being mistaken about it (one-sided) is refused.
SIGNIFICANCE = 0.05
#: A model that is worse by more than this is refused even where so few pictures prove nothing.
MARGIN = 0.05
#: Where the serving model has learned from some of the held-out pictures, so many others must be left to compare on.
LEAST_SHARED = 20
BATCH = 16


@dataclass(frozen=True)
class Score:
    """Of so many held-out pictures, so many are named wrongly; `error` and its 95 % interval are
    fractions."""

    pictures: int
    wrong: int
    error: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pictures of classes that both know. `difference` is the candidate's error less
    the serving one's; `interval` is its 95 % interval (`paired_interval`); `p` is the exact one-sided McNemar
    probability of the candidate losing so many of the pictures that only one names rightly, were both
    equally good. `worse` and `better` are the files that only the serving model, and only the candidate,
    names rightly."""

    candidate: Score
    serving: Score
    difference: float
    interval: tuple[float, float]
    p: float
    worse: list[str]
    better: list[str]


@dataclass(frozen=True)
class Verdict:
    """`reason` is a sentence for a person. `forced`: accepted although it would have been refused."""

    accepted: bool
    reason: str
    candidate: Score
    floor: float
    comparison: Comparison | None = None
    forced: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, dictionaries and numbers, for JSON and the report."""
        return dict(json.loads(json.dumps(asdict(self))))


def judge(
    candidate: Path,
    serving: Path | None,
    dataset: Path,
    *,
    floor: float = 0.0,
    margin: float = MARGIN,
    force: bool = False,
) -> Verdict:
    """Judge `candidate`, a folder with model.onnx and model.json, against the folder `serving` of the same
    make (None: nothing serves yet) on the test side of a SplitDataset folder.

    floor: the least accuracy; as much as always naming the most frequent class is never enough, whatever the floor.
    margin: the largest difference in error that is let pass unproven. force: accept all the same, and say so.

    Raises DataSetError if there are no test pictures.
    """
    rows = pixels.rows(dataset, "test")
    if not rows:
        raise DataSetError(
            f"{dataset}: no picture is on the side 'test', expected at least one; ask for more pictures"
        )
    classes, said = answers(candidate, dataset, rows)
    right = np.array([a == row.label for a, row in zip(said, rows, strict=True)])
    own = score(right)
    guessing = max(Counter(row.label for row in rows).values()) / len(rows)
    comparison = None
    if 1 - own.error < floor:
        reason = (
            f"It names {percent(1 - own.error)} of {own.pictures} held-out pictures rightly; "
            f"the floor is {percent(floor)}."
        )
    elif 1 - own.error <= guessing:
        reason = (
            f"It names {percent(1 - own.error)} of {own.pictures} held-out pictures rightly; always naming the most "
            f"frequent of the {len(classes)} classes would do as well ({percent(guessing)})."
        )
    else:
        reason = ""
    if serving is not None:
        apart = held_out_from(serving, rows)
        if apart.all() or apart.sum() >= LEAST_SHARED:
            those = [row for row, kept in zip(rows, apart, strict=True) if kept]
            comparison = compare(serving, dataset, those, classes, right[apart])
        else:
            reason = reason or (
                f"It cannot be compared: the serving model has learned from {(~apart).sum()} of its {own.pictures} "
                "held-out pictures, as after another seed or other shares, and too few are left."
            )
        if comparison is not None:
            reason = reason or objection(comparison, margin)
    if not reason:
        never = sorted(
            {row.label for row in rows} - {row.label for row, r in zip(rows, right, strict=True) if r}
        )
        blind = f" It finds none of the held-out pictures of {', '.join(never)}." if never else ""
        verdict = Verdict(True, praise(own, comparison) + blind, own, floor, comparison)
    elif force:
        verdict = Verdict(
            True, f"Forced by name. It would have been refused: {reason}", own, floor, comparison, True
        )
    else:
        verdict = Verdict(False, reason, own, floor, comparison)
    return verdict


def held_out_from(release: Path, rows: list[SplitRow]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pictures a release's model has not learned from, nor been chosen by; all for one that does not tell."""
    learned = set(read_json(release / "sources.json").get("learned_from", ()))
    return np.array([Path(row.file).stem not in learned for row in rows])


def compare(
    serving: Path,
    dataset: Path,
    rows: list[SplitRow],
    classes: list[str],
    right: np.ndarray[Any, np.dtype[np.bool_]],
) -> Comparison | None:
    """The comparison on pictures of classes that both models know; None if they share none."""
    from scipy.stats import binomtest

    known = set(classes) & set(card(serving)["classes"])
    both = np.array([row.label in known for row in rows])
    if not both.any():
        return None
    rows = [row for row in rows if row.label in known]
    right = right[both]
    _, said = answers(serving, dataset, rows)
    theirs = np.array([a == row.label for a, row in zip(said, rows, strict=True)])
    worse, better = theirs & ~right, right & ~theirs
    differing = int(worse.sum() + better.sum())
    neither = int((~theirs & ~right).sum())
    p = float(binomtest(int(worse.sum()), differing, 0.5, alternative="greater").pvalue) if differing else 1.0
    return Comparison(
        score(right), score(theirs), float(theirs.mean() - right.mean()),
        paired_interval(neither, int(worse.sum()), int(better.sum()), len(rows)), p,
        [row.file for row, w in zip(rows, worse, strict=True) if w],
        [row.file for row, b in zip(rows, better, strict=True) if b],
    )  # fmt: skip


def paired_interval(both: int, first: int, second: int, pictures: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two errors on the same pictures: `both` wrong, the `first` only, the
    `second` only. Not of no width where they never differ, as a bootstrap's would be: R. G. Newcombe, "Improved
    confidence intervals for the difference between binomial proportions based on paired data", Statistics in Medicine
    17 (1998), method 10."""
    n, wrong, other = pictures, both + first, both + second
    one, two = wrong / n, other / n
    (low1, high1), (low2, high2) = wilson(wrong, n), wilson(other, n)
    right = n - both - first - second
    margins = wrong * (n - wrong) * other * (n - other)
    excess = both * right - first * second
    # Newcombe's correction of the correlation for continuity.
    phi = (max(excess - n / 2, 0) if excess > 0 else excess) / math.sqrt(margins) if margins else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0))

    return one - two - reach(one - low1, high2 - two), one - two + reach(high1 - one, two - low2)


def objection(c: Comparison, margin: float) -> str:
    """Why the candidate of a comparison must not replace the serving model; empty if nothing is to be
    said."""
    if c.difference <= 0 or (c.p >= SIGNIFICANCE and c.difference <= margin):
        return ""
    proven = (
        "surely worse" if c.p < SIGNIFICANCE else f"worse by more than {percent(margin)}, though not surely"
    )
    return (
        f"It is {proven}: on the same {c.candidate.pictures} held-out pictures it gets {c.candidate.wrong} "
        "wrong, the serving "
        f"model {c.serving.wrong}; {interval(c)}."
    )


def praise(own: Score, c: Comparison | None) -> str:
    if c is None:
        low, high = own.interval
        return (
            f"It names {percent(1 - own.error)} of {own.pictures} held-out pictures rightly (true error "
            f"between {percent(low)} "
            f"and {percent(high)}); there is no model to compare it with."
        )
    what = (
        "better than"
        if c.difference < 0
        else "as good as"
        if c.difference == 0
        else "not provably worse than"
    )
    return (
        f"It is {what} the serving model: on the same {c.candidate.pictures} held-out pictures it gets "
        f"{c.candidate.wrong} wrong, "
        f"the serving model {c.serving.wrong}; {interval(c)}."
    )


def interval(c: Comparison) -> str:
    low, high = c.interval
    return (
        f"the difference in error is {100 * c.difference:+.1f} points (95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f}, "
        f"McNemar p = {c.p:.2g})"
    )


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def score(right: np.ndarray[Any, np.dtype[np.bool_]]) -> Score:
    wrong = int((~right).sum())
    return Score(len(right), wrong, wrong / len(right), wilson(wrong, len(right)))


def card(release: Path) -> dict[str, Any]:
    return dict(json.loads((release / "model.json").read_text(encoding="utf-8")))


def answers(release: Path, dataset: Path, rows: list[SplitRow]) -> tuple[list[str], list[str]]:
    """The classes of a release, and the one that it finds most probable for each row's picture."""
    import onnxruntime

    about = card(release)
    running = onnxruntime.InferenceSession(release / "model.onnx", providers=["CPUExecutionProvider"])
    said: list[str] = []
    for batch in pixels.batches([dataset / row.file for row in rows], about["image_size"], BATCH):
        probabilities = running.run(["probabilities"], {"pixels": batch})[0]
        said += [about["classes"][int(i)] for i in probabilities.argmax(1)]
    return about["classes"], said
