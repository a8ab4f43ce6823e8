"""From a data set to a model: fastai's vision_learner, its body frozen and used once for each picture.

A frozen body gives the same features in every epoch. So they are computed once, and the head alone is trained on them
by fastai's own Learner and fit_one_cycle. The result is the vision_learner that plain fastai would have made. Other
recipes (recipes.py) train more than that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi import contracts, imports
from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.pixels import DataSetError
from greenr_luigi.dataset.rows import LabelRow, class_numbers, read_labels
from greenr_luigi.errors import GreenrError
from greenr_luigi.progress import OnProgress
from greenr_luigi.text import did_you_mean, percent
from greenr_luigi.training.recipes import RECIPES, Ingredients
from greenr_luigi.training.saved_model import Training, Weights

#: With fewer than this a class has nothing to generalize from.
LEAST_TRAINING_PICTURES = 2


@dataclass(frozen=True)
class Hyperparameters:
    """How a model is trained. `epochs`: for which the head is. `image_size`: the side in pixels of what the model sees.
    `recipe`: a name in recipes.py; docs/benchmarks.md compares them. `minutes`: for which a network may be trained on,
    or other recipes tried; the head comes before. 0: as the recipe has it."""

    arch: str
    epochs: int
    seed: int
    image_size: int
    recipe: str = "head"
    minutes: float = 0


def train(
    dataset: Path,
    out: Path | None,
    how: Hyperparameters,
    *,
    on_progress: OnProgress,
    root: Path | None = None,
) -> Training:
    """Train on the sides "train" and "valid" of a SplitDataset folder, each picture of which a cross-validation has
    judged; or, by a recipe that does not cross-validate, on "train", and watch "valid". Never look at the side "test".
    Writes `model.safetensors` (the state dict), `training.json` and, of a cross-validation, `folds.safetensors` into
    the folder `out`, which is None in all but one of the processes that train together (rank.py). Returns what
    `training.json` holds.

    `root`: a data root, where what the body sees stays for the next time (features.py).

    On a CPU, the same inputs, seed, machine and numbers of processes and threads give the same bytes.

    Raises DataSetError before any work if a side or a class is missing, ArchitectureError if the architecture is not
    known or its weights cannot be had, GreenrError for an unknown recipe."""
    if how.recipe not in RECIPES:
        raise GreenrError(f"recipe is {how.recipe!r}; {did_you_mean(how.recipe, list(RECIPES))}")
    recipe = RECIPES[how.recipe]
    cross_validates = recipe.cross_validates
    read = read_labels if cross_validates else pixels.read_rows
    train_rows, valid_rows = read(dataset, "train"), read(dataset, "valid")
    rows = train_rows + valid_rows
    classes = trainable_classes(dataset, rows if cross_validates else train_rows, valid_rows)

    with imports.garbage_left():
        import torch
        from safetensors.torch import save_file

        from greenr_luigi.training import architectures, distributed, folds

    fold = folds.of_rows(rows if cross_validates else [], classes, how.seed)
    if cross_validates and (fold == folds.ALWAYS).all():
        raise DataSetError(
            f"{dataset}: each class is one group, so that none can be judged by what has not learned from it; expected "
            "several groups of a class, or pictures in none"
        )
    judging = (
        f"in {len(folds.numbers(fold))} folds" if cross_validates else f"{len(valid_rows)} to validate on"
    )
    learned = len(rows) if cross_validates else len(train_rows)
    on_progress(0, f"{learned} pictures of {len(classes)} classes, {judging}")
    body = architectures.find(how.arch)
    training = Training(
        how.arch,
        classes,
        how.image_size,
        list(body.mean),
        list(body.std),
        recipe.name,
        how.epochs,
        how.seed,
        Weights(body.weights, body.license),
        recipe_words=recipe.words,
        processes=distributed.world(),
    )
    torch.manual_seed(how.seed)
    learn = architectures.learner(body, classes, how.image_size, pretrained=True)
    train_pictures, valid_pictures = (
        (
            [dataset / row.file for row in side],
            torch.tensor(class_numbers(side, classes), dtype=torch.int64),
        )
        for side in (train_rows, valid_rows)
    )
    groups = folds.groups_of(train_rows)
    given = Ingredients(learn, train_pictures, valid_pictures, training, fold, root, groups=groups)
    if allowed := how.minutes or recipe.minutes:
        given = replace(given, minutes=allowed)
    trained = recipe.fit(given, lambda f, words: on_progress(min(f, 0.999), words))
    chosen = RECIPES[trained.recipe or recipe.name]
    training = replace(
        training, recipe=chosen.name, recipe_words=chosen.words, history=trained.history, tried=trained.tried
    )
    if out:
        state = {name: tensor.cpu().contiguous() for name, tensor in learn.model.state_dict().items()}
        save_file(state, out / "model.safetensors")
        contracts.write(out / "training.json", training)
        if trained.judged:
            trained.judged.save(out)
    where = "pictures are wrong in cross-validation" if trained.judged else "validation pictures are wrong"
    said = f"trained; {percent(trained.history[-1].error_rate, 1)} of the {where}"
    on_progress(1, "; ".join(filter(None, (said, trained.ended))))
    return training


def trainable_classes(dataset: Path, train_rows: list[LabelRow], valid_rows: list[LabelRow]) -> list[str]:
    """The sorted classes of a data set that can be trained on, on `train_rows`; raises DataSetError otherwise."""
    counts = Counter(row.label for row in train_rows)
    if len(counts) < 2:
        raise DataSetError(
            f"{dataset}: its classes are {sorted(counts)}, expected at least two; name more in --classes"
        )
    numbers = {row.label: counts[row.label] for row in train_rows + valid_rows}
    few = [f"{label!r} ({n})" for label, n in sorted(numbers.items()) if n < LEAST_TRAINING_PICTURES]
    if few:
        raise DataSetError(
            f"{dataset}: too few pictures to train on: {', '.join(few)}; expected at least "
            f"{LEAST_TRAINING_PICTURES} a class; raise --limit, or leave the class out of --classes"
        )
    return sorted(counts)
