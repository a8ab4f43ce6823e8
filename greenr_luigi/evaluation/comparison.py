"""Two models on the same held-out pictures, and what the gate decided on it: verdict.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greenr_luigi.evaluation.calibration import Bools
from greenr_luigi.intervals import wilson

#: A model that is worse with this probability of being mistaken about it (one-sided) is refused.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Score:
    """How many of the held-out pictures a model names wrongly; `error` and its 95 % interval are fractions."""

    pictures: int
    wrong: int
    error: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pictures of classes that both know. `worse` and `better` are the files that only the
    serving model, and only the candidate, names rightly."""

    candidate: Score
    serving: Score
    #: The candidate's error less the serving one's, and its 95 % interval (`paired_interval`).
    difference: float
    interval: tuple[float, float]
    #: How probable it is, if both are equally good, that the candidate loses at least so many of the pictures that only
    #: one of them names rightly: McNemar's exact test, one-sided.
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
    #: None where no model serves, or none that can be compared.
    comparison: Comparison | None
    forced: bool


def score(right: Bools) -> Score:
    """`right`: for each of one or more pictures, whether it is named rightly."""
    wrong = int((~right).sum())
    return Score(len(right), wrong, wrong / len(right), wilson(wrong, len(right)))


def compare(files: Sequence[str], candidate: Bools, serving: Bools) -> Comparison:
    """`candidate`, `serving`: for each of the files (one or more), whether that model names it rightly."""
    worse, better = serving & ~candidate, candidate & ~serving
    lost, won, both_wrong = (int(which.sum()) for which in (worse, better, ~serving & ~candidate))
    return Comparison(
        candidate=score(candidate),
        serving=score(serving),
        difference=float(serving.mean() - candidate.mean()),
        interval=paired_interval(both_wrong, lost, won, len(files)),
        p=at_least(lost, lost + won),
        worse=[file for file, lost in zip(files, worse, strict=True) if lost],
        better=[file for file, won in zip(files, better, strict=True) if won],
    )


def at_least(heads: int, coins: int) -> float:
    """The chance of so many heads or more of fair coins: McNemar's exact test, one-sided. scipy has the same, and takes
    a second to be imported."""
    ways, found = math.comb(coins, heads), 0
    for number in range(heads, coins + 1):
        found += ways
        ways = ways * (coins - number) // (number + 1)
    return float(found / 2**coins)


def paired_interval(both: int, first: int, second: int, pictures: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two models' errors on the same pictures. So many are named wrongly: by
    `both`, by the `first` only, by the `second` only.

    Unlike a bootstrap's, it has a width even where the two never differ. R. G. Newcombe, "Improved confidence intervals
    for the difference between binomial proportions based on paired data", Statistics in Medicine 17 (1998), method
    10."""
    n, wrong, other = pictures, both + first, both + second
    rate1, rate2 = wrong / n, other / n
    (low1, high1), (low2, high2) = wilson(wrong, n), wilson(other, n)
    right = n - both - first - second
    margins = wrong * (n - wrong) * other * (n - other)
    excess = both * right - first * second
    # Newcombe's correction of the correlation for continuity.
    phi = (max(excess - n / 2, 0) if excess > 0 else excess) / math.sqrt(margins) if margins else 0.0

    def distance(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0))

    below, above = distance(rate1 - low1, high2 - rate2), distance(high1 - rate1, rate2 - low2)
    return rate1 - rate2 - below, rate1 - rate2 + above
