"""The recipe `auto`: the one of the others that names the fewest pictures wrongly, the cheaper of two that are as good.

From the cheapest on, each is tried that may turn out better, and may be had in the time allowed. It is taken if, of the
same pictures, it names fewer wrongly. By `finetune`, which a few pictures judge and each run pays for, these must be
fewer by more than a standard error of that number: the one-standard-error rule (Breiman, Friedman, Olshen and Stone,
Classification and Regression Trees, 1984), here on pairs as McNemar (1947) has them. No model has learned from a
picture that judges it, and none of these is on the side "test".

What a recipe takes is reckoned from its number of operations, so that the same pictures give the same choice on a busy
machine, and all processes that train together make the same."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from greenr_luigi.intervals import wilson
from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training import distributed, folds, linear_head, recipes
from greenr_luigi.training.recipes import Ingredients, Trained
from greenr_luigi.training.saved_model import Tried

#: How many pictures must be wrong for a recipe to be tried: with fewer, what it has brought where that was measured
#: is a picture, or less than its standard errors (docs/benchmarks.md, Which recipe does auto take).
LEAST_WRONG = {"views": 30, "finetune": 15}
#: More than so many standard errors it must bring to be taken.
STANDARD_ERRORS = {"views": 0, "finetune": 1}
#: Pictures of each class that the upper part of a body needs to learn from.
LEAST_PICTURES = 2


@dataclass
class Choice:
    """The best recipe so far, and which pictures it names wrongly of those that are not for testing; how many of the
    `allowed` minutes are spent; and what was found of each recipe."""

    name: str
    wrong: folds.Bools
    allowed: float
    spent: float = 0
    tried: list[Tried] = field(default_factory=list)

    def may_be_beaten(self, name: str, judges: folds.Bools) -> bool:
        """Whether enough pictures are wrong among those by which that recipe is judged."""
        wrong, least = int(self.wrong[judges].sum()), LEAST_WRONG[name]
        if wrong < least:
            self.leave(
                name, f"of {judges.sum()} pictures {wrong} are wrong, and {least} must be to tell a gain"
            )
        return wrong >= least

    def has_time(self, name: str, minutes: float) -> bool:
        if self.spent + minutes > self.allowed:
            self.leave(name, f"--minutes {math.ceil(self.spent + minutes)} would allow it", minutes)
            return False
        self.spent += minutes
        return True

    def leave(self, name: str, why: str, minutes: float | None = None) -> None:
        self.tried.append(Tried(name, f"not tried: {why}", minutes))

    def judge(self, name: str, wrong: folds.Bools, judges: folds.Bools, minutes: float) -> bool:
        """Whether a recipe that was tried beats the best so far, whose place it takes then."""
        fewer = int(self.wrong[judges].sum()) - int(wrong[judges].sum())
        spread = math.sqrt((self.wrong != wrong)[judges].sum())
        better = fewer > STANDARD_ERRORS[name] * spread
        words = f"{abs(fewer)} {'more' if fewer < 0 else 'fewer'} wrong than by {self.name}, ± {spread:.1f}"
        self.note(name, f"{words}: {'taken' if better else 'not taken'}", wrong[judges], minutes)
        if better:
            self.name, self.wrong = name, wrong
        return better

    def note(self, name: str, words: str, wrong: folds.Bools, minutes: float) -> None:
        pictures, number = len(wrong), int(wrong.sum())
        interval = wilson(number, pictures)
        self.tried.append(Tried(name, words, minutes, pictures, number / pictures, interval))


def fit(given: Ingredients, on_progress: OnProgress) -> Trained:
    """Train by the recipe that is chosen, as that does. `Trained.recipe` says which it is."""
    y, learned = recipes.labels_of_all(given).numpy(), len(given.train[1])
    x, judged = recipes.judge_head(given, part(on_progress, 0, 0.3))
    choice = Choice("head", wrong_by(judged, x, y), given.minutes)
    choice.note("head", "the cheapest", choice.wrong[judged.judged], 0)

    if choice.may_be_beaten("views", judged.judged):
        minutes = minutes_of_views(given)
        if choice.has_time("views", minutes):
            more, by_views = recipes.judge_head(given, part(on_progress, 0.3, 0.5), **recipes.OF_VIEWS)
            if choice.judge("views", wrong_by(by_views, more, y), judged.judged, minutes):
                judged = by_views

    judges = judged.judged & (np.arange(len(y)) >= learned)
    if np.bincount(y[:learned], minlength=y.max() + 1).min() < LEAST_PICTURES:
        choice.leave("finetune", f"a class has fewer than {LEAST_PICTURES} training pictures")
    elif choice.may_be_beaten("finetune", judges):
        minutes = minutes_of_finetuning(given, given.minutes - choice.spent)
        if choice.has_time("finetune", minutes):
            before = copy.deepcopy(given.learn.model)
            left = replace(given, minutes=given.minutes - choice.spent + minutes)
            trained = recipes.fit_network(left, part(on_progress, 0.5, 0.95))
            wrong = np.zeros(len(y), bool)
            wrong[learned:] = wrong_by_network(given, part(on_progress, 0.95, 0.98))
            if choice.judge("finetune", wrong, judges, minutes):
                return replace(trained, recipe=choice.name, tried=choice.tried)
            given.learn.model = before

    return replace(recipes.teach_head(given, judged), recipe=choice.name, tried=choice.tried)


def wrong_by(judged: folds.OutOfFold, x: torch.Tensor, y: folds.Ints) -> folds.Bools:
    """Which pictures the heads of a cross-validation name wrongly; False for those that are not judged. By the word of
    the first of the processes that train together: heads of others may differ in their last digits."""
    with linear_head.on_one_thread():
        wrong = np.asarray((judged.logits(x).argmax(1) != y) & judged.judged)
    return distributed.of_all(wrong)[0]


def wrong_by_network(given: Ingredients, on_progress: OnProgress) -> folds.Bools:
    """Which of the pictures of `valid` the learner names wrongly."""
    from greenr_luigi.training import features, linear_head

    paths, y = given.valid
    # Without the root: nothing is kept of a body that may be given up.
    x = features.pooled(given.learn, paths, given.training, on_progress)
    said = linear_head.folded(given.learn.model[1].cpu().eval()).logits(x)
    return distributed.of_all(np.asarray(said.argmax(1) != y.numpy()))[0]


def minutes_of_views(given: Ingredients) -> float:
    """Reckoned for a small machine, to look at the parts of all pictures."""
    from greenr_luigi.training import finetuning, splitting

    body, size = given.learn.model[0], given.training.image_size
    pixels = torch.zeros(1, 3, size, size, device=next(body.parameters()).device)
    _, look = splitting.operations(body.eval(), pixels)
    return (len(recipes.VIEWS) - 1) * len(given.fold) * look / finetuning.SPEED / 60


def minutes_of_finetuning(given: Ingredients, left: float) -> float:
    """Reckoned for a small machine, for all epochs, once more from all pictures where so many minutes are enough."""
    from greenr_luigi.training import finetuning, splitting

    size = given.training.image_size
    lower, upper = splitting.split(given.learn.model[0].eval(), size)
    pictures = len(given.train[0])
    looking, epoch = finetuning.minutes_of(lower, upper, pictures, size)
    times = 2 if finetuning.has_time_for_twice(lower, upper, pictures, size, left) else 1
    return looking + times * finetuning.EPOCHS * epoch
