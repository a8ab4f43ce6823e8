"""The ways to train a model. A new one is a function here and an entry in RECIPES, and makes TrainModel alone stale.

Importing this module is light: torch and fastai are imported when a recipe is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenr_luigi.errors import GreenrError
from greenr_luigi.progress import OnProgress, part
from greenr_luigi.text import did_you_mean
from greenr_luigi.training.saved_model import Epoch, Training

if TYPE_CHECKING:
    import torch


class RecipeError(GreenrError):
    """A recipe that is not known."""


@dataclass(frozen=True)
class Ingredients:
    """What a recipe works with.

    `learn`: a fastai Learner with a pretrained body and a fresh head, whose model is trained in place
    (architectures.learner says what the head must stay). `train` and `valid`: the pictures to learn from and those to
    watch, paths and class numbers. `training`: the settings, such as `epochs`, `seed` and `image_size`.
    """

    learn: Any
    train: tuple[Sequence[Path], torch.Tensor]
    valid: tuple[Sequence[Path], torch.Tensor]
    training: Training


@dataclass(frozen=True)
class Recipe:
    """`name` is what --recipe takes, `words` say for a person what is done, and `fit` does it: it trains the model in
    place, tells its OnProgress fractions from 0 to 1, and returns a row an epoch."""

    name: str
    words: str
    fit: Callable[[Ingredients, OnProgress], list[Epoch]]


def fit_head(ingredients: Ingredients, on_progress: OnProgress, mirrored: bool = False) -> list[Epoch]:
    """Compute the frozen body's features of each picture once, and train the head on them; `mirrored`: on those of the
    training pictures' mirror images, too."""
    import torch

    from greenr_luigi.training import features, heads

    learn, training = ingredients.learn, ingredients.training
    (train_paths, y), (valid_paths, valid_y) = ingredients.train, ingredients.valid
    n = len(train_paths)
    computed = part(on_progress, 0, 0.45 if mirrored else 0.9)
    x, valid_x = features.pooled(learn, [*train_paths, *valid_paths], training, computed).tensor_split([n])
    if mirrored:
        flipped = features.pooled(learn, train_paths, training, part(on_progress, 0.45, 0.9), flip=True)
        x, y = torch.cat([x, flipped]), torch.cat([y, y])
    return heads.fit(
        learn.model[1], (x, y), (valid_x, valid_y), training.epochs, training.seed, part(on_progress, 0.9, 1)
    )


def fit_head_mirrored(ingredients: Ingredients, on_progress: OnProgress) -> list[Epoch]:
    return fit_head(ingredients, on_progress, mirrored=True)


def finetune(ingredients: Ingredients, on_progress: OnProgress) -> list[Epoch]:
    """The head first, then the whole network."""
    from greenr_luigi.training import finetuning

    history = fit_head(ingredients, part(on_progress, 0, 0.12))
    return history + finetuning.fit(
        ingredients.learn,
        ingredients.train,
        ingredients.valid,
        ingredients.training,
        part(on_progress, 0.12, 1),
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("head", "the body as it came, a head trained on what it sees", fit_head),
        Recipe(
            "mirrored",
            "the body as it came, a head trained on each picture and its mirror image",
            fit_head_mirrored,
        ),
        Recipe("finetune", "a head first, then the whole network trained on", finetune),
    )
}


def find_recipe(name: str) -> Recipe:
    """Raises RecipeError."""
    if name not in RECIPES:
        raise RecipeError(f"recipe is {name!r}; {did_you_mean(name, list(RECIPES))}")
    return RECIPES[name]
