"""The ways to train a model. A new one is a function here and a line in RECIPES, and makes TrainModel alone stale.

Importing this module is light: torch and fastai are imported when a recipe is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training.saved_model import Epoch, Training, Tried

if TYPE_CHECKING:
    import torch

    from greenr_luigi.training.folds import Ints, OutOfFold


#: For how long a network may be trained on, where nobody says.
MINUTES = 15.0
#: What `auto` may take then, beside the head: a person waits for a classifier, and again when a picture was rejected.
PATIENCE = 5.0


@dataclass(frozen=True)
class Ingredients:
    """What a recipe works with. `learn`: a fastai Learner with a pretrained body and a fresh head, whose model is
    trained in place (architectures.learner says what the head must stay). `train` and `valid`: the pictures of these
    sides, files and class numbers. `fold`: that of each picture of `train` and then of `valid` (folds.divide), for a
    recipe that learns from both. `training`: the settings, such as epochs, seed and image_size."""

    learn: Any
    train: tuple[Sequence[Path], torch.Tensor]
    valid: tuple[Sequence[Path], torch.Tensor]
    training: Training
    fold: Ints
    #: A data root, where what the body sees stays for the next time (features.py).
    root: Path | None = None
    #: For how long a network may be trained on.
    minutes: float = MINUTES
    #: A name for each picture of `train`; those of the same belong together.
    groups: Sequence[str] = ()


@dataclass(frozen=True)
class Trained:
    """What a recipe tells of a training: a row an epoch, and what judges each picture of a model that was
    cross-validated; None for one that the validation pictures judge, which it has not learned from. `recipe`: the name
    of the one that was chosen, and `tried` what was found of each, by a recipe that chooses. `ended`: what else is to
    be told, such as that time was over."""

    history: list[Epoch]
    judged: OutOfFold | None = None
    recipe: str = ""
    tried: list[Tried] = field(default_factory=list)
    ended: str = ""


@dataclass(frozen=True)
class Recipe:
    """`name` is what --recipe takes, `words` say for a person what is done, and `fit` does it: it trains the model in
    place and tells its OnProgress fractions from 0 to 1. `cross_validates`: it needs no validation pictures. `minutes`:
    what Ingredients.minutes are where --minutes says nothing; None for one that does not look at them, which --minutes
    makes never stale."""

    name: str
    words: str
    fit: Callable[[Ingredients, OnProgress], Trained]
    cross_validates: bool = True
    minutes: float | None = MINUTES


#: Of each picture, for the recipe `views`: itself and three parts of it (dataset/views.py).
VIEWS = range(4)
#: Adam's decoupled weight decay where there are so many: they make steps, and steps make logits large.
WEIGHT_DECAY = 3.0
OF_VIEWS: dict[str, Any] = {"views": VIEWS, "weight_decay": WEIGHT_DECAY}


def fit_head(
    given: Ingredients, on_progress: OnProgress, views: Sequence[int] = (0,), **options: Any
) -> Trained:
    """Train the head on the features of all pictures in each of these `views`, and a head a fold to judge them by.
    `options`: of cross_validation.out_of_fold."""
    _, judged = judge_head(given, on_progress, views, **options)
    return teach_head(given, judged)


def judge_head(
    given: Ingredients, on_progress: OnProgress, views: Sequence[int] = (0,), **options: Any
) -> tuple[torch.Tensor, OutOfFold]:
    """The features of all pictures in each of these `views`, and a head a fold to judge them by."""
    from greenr_luigi.training import cross_validation

    x = features_of_all(given, part(on_progress, 0, 0.9), views)
    told = part(on_progress, 0.9, 1)
    head, y = given.learn.model[1], labels_of_all(given)
    return x, cross_validation.out_of_fold(head, x, y, given.fold, given.training, told, **options)


def teach_head(given: Ingredients, judged: OutOfFold) -> Trained:
    """The head that has learned from all pictures beside those of judge_head."""
    given.learn.model[1].load_state_dict(judged.of_all)
    return Trained(judged.history, judged)


def labels_of_all(given: Ingredients) -> torch.Tensor:
    """The class numbers of `train` and then of `valid`."""
    import torch

    return torch.cat([given.train[1], given.valid[1]])


def features_of_all(given: Ingredients, on_progress: OnProgress, views: Sequence[int] = (0,)) -> torch.Tensor:
    """The frozen body's features of each picture of `train` and `valid`, of all in one view after the other, in one
    array like that of features.pooled. Beside it there is that of one view at a time."""
    import torch

    from greenr_luigi.training import embedding, features

    paths, each = [*given.train[0], *given.valid[0]], 1 / len(views)
    found: torch.Tensor | None = None
    for done, view in enumerate(views):
        looking = part(on_progress, done * each, (done + 1) * each)
        seen = features.pooled(given.learn, paths, given.training, looking, view=view, root=given.root)
        if len(views) == 1:
            return seen
        if found is None:
            rows = embedding.empty(given.root, len(views) * len(seen), seen[0].numel())
            found = torch.from_numpy(rows).view(-1, *seen.shape[1:])
        found[done * len(seen) : (done + 1) * len(seen)] = seen
    assert found is not None
    return found


def fit_network(given: Ingredients, on_progress: OnProgress) -> Trained:
    """The head first, then the upper part of the body with it. To do so once a fold would take too long, so validation
    pictures judge."""
    from greenr_luigi.training import finetuning, heads

    (_, y), (_, valid_y) = given.train, given.valid
    x, valid_x = features_of_all(given, part(on_progress, 0, 0.1)).tensor_split([len(y)])
    teaching, held = finetuning.teaching_and_held(given)
    head, fitting = given.learn.model[1], part(on_progress, 0.1, 0.12)
    history = heads.fit(head, (x, y), (valid_x, valid_y), given.training, fitting, among=teaching)
    rows, ended = finetuning.fit(given, teaching, held, part(on_progress, 0.12, 1))
    return Trained(history + rows, ended=ended)


def fit_chosen(given: Ingredients, on_progress: OnProgress) -> Trained:
    from greenr_luigi.training import choosing

    return choosing.fit(given, on_progress)


ALL = (
    Recipe(
        "auto", "the one of the others that names the fewest pictures wrongly", fit_chosen, minutes=PATIENCE
    ),
    Recipe("head", "the body as it came, a head trained on what it sees", fit_head, minutes=None),
    Recipe(
        "views",
        "the body as it came, a head trained on each picture and three parts of it",
        partial(fit_head, **OF_VIEWS),
        minutes=None,
    ),
    Recipe(
        "finetune",
        "a head first, then the upper part of the body trained on, too",
        fit_network,
        cross_validates=False,
    ),
)
RECIPES = {recipe.name: recipe for recipe in ALL}
