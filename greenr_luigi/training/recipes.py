"""The ways to train a model. A new one is a function here and a line in RECIPES, and makes TrainModel alone stale.

Importing this module is light: torch and fastai are imported when a recipe is followed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training.saved_model import Epoch, Training

if TYPE_CHECKING:
    import torch


MINUTES = 15.0


@dataclass(frozen=True)
class Ingredients:
    """What a recipe works with. `learn`: a fastai Learner with a pretrained body and a fresh head, whose model is
    trained in place (architectures.learner says what the head must stay). `train` and `valid`: the pictures to learn
    from and those to watch, files and class numbers. `training`: the settings, such as epochs, seed and image_size."""

    learn: Any
    train: tuple[Sequence[Path], torch.Tensor]
    valid: tuple[Sequence[Path], torch.Tensor]
    training: Training
    #: A data root, where what the body sees stays for the next time (features.py).
    root: Path | None = None
    #: For how long a network may be trained on.
    minutes: float = MINUTES


@dataclass(frozen=True)
class Recipe:
    """`name` is what --recipe takes, `words` say for a person what is done, and `fit` does it: it trains the model in
    place, tells its OnProgress fractions from 0 to 1, and returns a row an epoch."""

    name: str
    words: str
    fit: Callable[[Ingredients, OnProgress], list[Epoch]]


#: Of each picture, for the recipe `views`: itself and three parts of it (dataset/views.py).
VIEWS = range(4)
#: Adam's decoupled weight decay where there are so many: they make steps, and steps make logits large.
WEIGHT_DECAY = 3.0


def fit_head(
    given: Ingredients, on_progress: OnProgress, views: Sequence[int] = (0,), **options: Any
) -> list[Epoch]:
    """Compute the frozen body's features of each picture once, of the training pictures in each of these `views`, and
    train the head on them. `options`: of heads.fit."""
    import torch

    from greenr_luigi.training import features, heads

    (train_paths, y), (valid_paths, valid_y) = given.train, given.valid
    pooled = partial(features.pooled, given.learn, training=given.training, root=given.root)
    each = 0.9 / len(views)
    x, valid_x = pooled([*train_paths, *valid_paths], on_progress=part(on_progress, 0, each)).tensor_split(
        [len(y)]
    )
    for done, view in enumerate(views[1:], 1):
        looking = part(on_progress, done * each, (done + 1) * each)
        x = torch.cat([x, pooled(train_paths, on_progress=looking, view=view)])
    train = x, y.repeat(len(views))
    return heads.fit(
        given.learn.model[1], train, (valid_x, valid_y), given.training, part(on_progress, 0.9, 1), **options
    )


def fit_network(given: Ingredients, on_progress: OnProgress) -> list[Epoch]:
    """The head first, then the upper part of the body with it."""
    from greenr_luigi.training import finetuning

    history = fit_head(given, part(on_progress, 0, 0.12))
    return history + finetuning.fit(given, part(on_progress, 0.12, 1))


ALL = (
    Recipe("head", "the body as it came, a head trained on what it sees", fit_head),
    Recipe(
        "views",
        "the body as it came, a head trained on each picture and three parts of it",
        partial(fit_head, views=VIEWS, weight_decay=WEIGHT_DECAY),
    ),
    Recipe("finetune", "a head first, then the upper part of the body trained on, too", fit_network),
)
RECIPES = {recipe.name: recipe for recipe in ALL}
