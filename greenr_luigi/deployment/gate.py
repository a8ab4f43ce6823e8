"""Whether a new model may take the place of the one that serves.

Both are asked in 32-bit floats about the same pictures, which neither has learned from. Neither torch nor fastai is
needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import LabelRow, read_excluded, read_manifest
from greenr_luigi.deployment.provenance import read_provenance
from greenr_luigi.evaluation.calibration import Bools
from greenr_luigi.evaluation.comparison import SIGNIFICANCE, Comparison, Score, Verdict, compare, score
from greenr_luigi.export.answers import answers
from greenr_luigi.export.model_card import read_card
from greenr_luigi.text import percent

#: So many held-out pictures must be left to compare on, if the serving model has learned from some of them.
LEAST_SHARED = 20
#: So many new pictures of a class tell whether they are like the earlier ones.
MOST_NEW = 50


@dataclass(frozen=True)
class Limits:
    """What a model must reach. `floor`: the least accuracy. Whatever it is, a model must do better than always naming
    the most frequent class. `margin`: how much more error than the serving model's is let pass where chance may explain
    it. `force`: accept all the same, and say so."""

    floor: float = 0.0
    margin: float = 0.05
    force: bool = False


def judge(
    candidate: Path, serving: Path | None, dataset: Path, limits: Limits, root: Path | None = None
) -> Verdict:
    """Judge `candidate`, a folder with model.onnx and model.json, against such a folder `serving` (None: nothing serves
    yet) on the test pictures of a SplitDataset folder. `root`: a data root, where features stay (export/answers.py).

    Raises DataSetError if there are no test pictures.
    """
    rows = pixels.read_rows(dataset, "test")
    right = named_rightly(candidate, dataset, rows, root)
    own = score(right)
    comparison, reason = None, too_low(own, rows, limits.floor)
    if serving is not None:
        unseen, known = seen_alike(candidate, serving, dataset, rows)
        if obstacle := incomparable(unseen, known):
            reason = reason or obstacle
        else:
            shared = list(compress(rows, unseen & known))
            serving_right = named_rightly(serving, dataset, shared, root)
            comparison = compare([row.file for row in shared], right[unseen & known], serving_right)
            reason = reason or objection(comparison, limits.margin)
            reason = reason or contradiction(agreements(serving, dataset, shared, serving_right, root))
    refused = bool(reason)
    if not refused:
        reason = praise(own, comparison) + never_found(rows, right) + no_longer_known(candidate, serving)
    elif limits.force:
        reason = f"Forced by name. It would have been refused: {reason}"
    return Verdict(
        accepted=not refused or limits.force,
        reason=reason,
        candidate=own,
        floor=limits.floor,
        comparison=comparison,
        forced=refused and limits.force,
    )


def seen_alike(candidate: Path, serving: Path, dataset: Path, rows: list[LabelRow]) -> tuple[Bools, Bools]:
    """Which of the rows the serving model has not learned from, and which are of a class that both models know."""
    learned = learned_alike(dataset, set(read_provenance(serving).learned_from or ()))
    known = set(read_card(candidate).classes) & set(read_card(serving).classes)
    unseen = np.array([row.file not in learned for row in rows])
    return unseen, np.array([row.label in known for row in rows])


def learned_alike(dataset: Path, learned_from: set[str]) -> set[str]:
    """The files of a data set that a model knows which has learned from pictures of these sha16: from themselves, or
    from what is of their group or looks nearly the same, be it in the data set or left out of it. That may have stood
    on another side then, by another seed, other groups, or before the sides of a person's folder were kept."""
    rows = read_manifest(dataset)
    groups = {row.group for row in rows if Path(row.file).stem in learned_from}
    groups |= {row.group for row in read_excluded(dataset) if row.sha256[:16] in learned_from}
    groups.discard(None)
    return {
        row.file
        for row in rows
        if row.group in groups
        or not learned_from.isdisjoint((Path(row.file).stem, *(row.near or "").split()))
    }


def incomparable(unseen: Bools, known: Bools) -> str:
    """Why two models cannot be compared on pictures that `seen_alike` tells of; empty if they can be."""
    if not known.any():
        return (
            f"It cannot be compared: the serving model knows no class of its {len(known)} held-out pictures."
        )
    learned, left = (known & ~unseen).sum(), (known & unseen).sum()
    if not learned or left >= LEAST_SHARED:
        return ""
    return (
        f"It cannot be compared: the serving model has learned from {learned} of its {len(known)} held-out "
        "pictures, or from what belongs to them, as after another seed or split, and too few are left."
    )


def named_rightly(release: Path, dataset: Path, rows: list[LabelRow], root: Path | None = None) -> Bools:
    """For each row, whether the class that the release finds most probable is the picture's label."""
    card, pictures = read_card(release), [dataset / row.file for row in rows]
    probabilities, _ = answers(release / "model.onnx", card, pictures, root)
    named = [card.classes[number] for number in probabilities.argmax(1)]
    return np.array([label == row.label for label, row in zip(named, rows, strict=True)])


@dataclass(frozen=True)
class Agreement:
    """Of a class, how many new pictures and how many held-out ones there are, and how many of each the serving model
    names otherwise than their label."""

    new: int
    new_wrong: int
    held_out: int
    held_out_wrong: int


def agreements(
    serving: Path, dataset: Path, held_out: list[LabelRow], right: Bools, root: Path | None = None
) -> Mapping[str, Agreement]:
    """By class. `held_out`: pictures that the serving model has not learned from, and whether it names each of them
    rightly. New are those that a search has brought for learning since: what a person put there, perhaps for being
    named wrongly, says nothing of a search."""
    learned = read_provenance(serving).learned_from
    if learned is None:
        return {}
    before, labels = set(learned), [row.label for row in held_out]
    new: dict[str, list[LabelRow]] = {label: [] for label in sorted({*labels})}
    # Files are named by their content, so the first ones are a random sample.
    for row in read_manifest(dataset):
        rows = new.get(row.label)
        searched = row.side != "test" and (row.file_url or "").startswith("http")
        if rows is not None and searched and len(rows) < MOST_NEW and Path(row.file).stem not in before:
            rows.append(LabelRow(row.file, row.label, row.sha256, row.side))
    asked = [row for rows in new.values() for row in rows]
    if not asked:
        return {}
    named = named_rightly(serving, dataset, asked, root)
    new_wrong = Counter(row.label for row in compress(asked, ~named))
    held_out_wrong, of_label = Counter(compress(labels, ~right)), Counter(labels)
    return {
        label: Agreement(len(rows), new_wrong[label], of_label[label], held_out_wrong[label])
        for label, rows in new.items()
        if rows
    }


def contradiction(found: Mapping[str, Agreement]) -> str:
    """Of which class most new pictures show something else; empty if of none. Their share on the held-out side speaks
    for a model that has learned the wrong thing, so that no comparison on that side tells. The test of each class is
    Fisher's exact one, one-sided; Bonferroni's correction is for several classes."""
    for label, a in found.items():
        if 2 * a.new_wrong <= a.new:
            continue
        # It takes a second.
        from scipy.stats import fisher_exact

        table = [[a.new_wrong, a.new - a.new_wrong], [a.held_out_wrong, a.held_out - a.held_out_wrong]]
        p = float(fisher_exact(table, alternative="greater").pvalue)
        if p < SIGNIFICANCE / len(found):
            return (
                f"Most new pictures of {label} seem to show something else: the serving model names {a.new_wrong} of "
                f"{a.new} otherwise, and only {a.held_out_wrong} of {a.held_out} held-out ones (Fisher p = {p:.2g}). "
                "Look at them (`greenr review`), and reject those that are wrong."
            )
    return ""


def too_low(own: Score, rows: list[LabelRow], floor: float) -> str:
    """Why a model's own accuracy is too low; empty if it is not."""
    counts = Counter(row.label for row in rows)
    accuracy, guessing = 1 - own.error, max(counts.values()) / len(rows)
    named = f"It names {percent(accuracy, 1)} of {own.pictures} held-out pictures rightly"
    if accuracy < floor:
        return f"{named}; the floor is {percent(floor, 1)}."
    if accuracy <= guessing:
        frequent = f"always naming the most frequent of the {len(counts)} classes"
        return f"{named}; {frequent} would do as well ({percent(guessing, 1)})."
    return ""


def objection(comparison: Comparison, margin: float) -> str:
    """Why the candidate must not replace the serving model; empty if nothing is to be said."""
    if comparison.difference > 0 and comparison.p < SIGNIFICANCE:
        return f"It is surely worse: {in_numbers(comparison)}."
    if comparison.difference > margin:
        return f"It is worse by more than {percent(margin, 1)}, though not surely: {in_numbers(comparison)}."
    return ""


def praise(own: Score, comparison: Comparison | None) -> str:
    if comparison is None:
        low, high = (percent(limit, 1) for limit in own.interval)
        return (
            f"It names {percent(1 - own.error, 1)} of {own.pictures} held-out pictures rightly "
            f"(true error between {low} and {high}); there is no model to compare it with."
        )
    difference = comparison.difference
    how = "not provably worse than" if difference > 0 else "better than" if difference < 0 else "as good as"
    return f"It is {how} the serving model: {in_numbers(comparison)}."


def never_found(rows: list[LabelRow], right: Bools) -> str:
    """A warning of the classes of which no picture is named rightly; empty if there are none."""
    never = {row.label for row in rows} - {row.label for row in compress(rows, right)}
    return f" It finds none of the held-out pictures of {', '.join(sorted(never))}." if never else ""


def no_longer_known(candidate: Path, serving: Path | None) -> str:
    """A warning of the classes that go with the serving model, as where a folder of a class was moved away; empty if
    none do."""
    gone = set(read_card(serving).classes) - set(read_card(candidate).classes) if serving else ()
    return f" It knows no {', '.join(sorted(gone))} any more, which the model before knew." if gone else ""


def in_numbers(comparison: Comparison) -> str:
    low, high = comparison.interval
    return (
        f"on the same {comparison.candidate.pictures} held-out pictures it gets {comparison.candidate.wrong} wrong, "
        f"the serving model {comparison.serving.wrong}; the difference in error is {100 * comparison.difference:+.1f} "
        f"points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, McNemar p = {comparison.p:.2g})"
    )
