"""Goes on to train the upper part of a body when its head has learned: slower, and better where pictures are many.

The lower part stays as it came (splitting.py), so each view of a picture passes it once, and what comes out is kept on
disk for the length of the training (activations.py): epochs then cost a third. Memory holds a batch, however many
pictures there are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import nn

from greenr_luigi.dataset.pixels import Pixels
from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training import distributed, features, folds, heads, splitting
from greenr_luigi.training.activations import Activations
from greenr_luigi.training.callbacks import BestAverage, FrozenStatistics, TimeLimit
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.recipes import Ingredients
from greenr_luigi.training.saved_model import Epoch

#: Of each picture: itself and parts of it (dataset/views.py).
VIEWS = 8
EPOCHS = 8
BATCH = 32
TENTHS = 10
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(3e-4, 1e-3)
SMOOTHING = 0.1
#: Floating-point operations a second that a small machine can be trusted with. By this, and not by the clock, it is
#: decided for how many views and epochs there is time: the same pictures give the same model on a busy machine, unless
#: it is too busy to come to their end.
SPEED = 30e9
#: Of the time, what may be spent on looking at pictures.
LOOKING = 0.5


@dataclass(frozen=True)
class Plan:
    """How many views of pictures the lower part is to see, and for how many epochs the upper one learns from that."""

    views: int
    epochs: int


def plan(lower: nn.Module, upper: nn.Module, pictures: int, image_size: int, minutes: float) -> Plan:
    """What there is time for, and no more than is worth it."""
    looking, epoch = minutes_of(lower, upper, pictures, image_size)
    share = min(1, minutes * LOOKING / looking) if looking else 1
    epochs = min(EPOCHS, (minutes - share * looking) / epoch)
    return Plan(max(int(share * VIEWS * pictures), min(pictures, BATCH)), max(1, int(epochs)))


def minutes_of(lower: nn.Module, upper: nn.Module, pictures: int, image_size: int) -> tuple[float, float]:
    """How long the lower part of a body looks at so many pictures, and an epoch of the upper part takes."""
    x = torch.zeros(1, 3, image_size, image_size, device=next(upper.parameters()).device)
    x, looking = splitting.operations(lower, x)
    _, forward = splitting.operations(upper, x)
    minutes = pictures / SPEED / 60
    # Backwards takes twice as much as forwards.
    return minutes * VIEWS * looking, minutes * 3 * forward


def teaching_and_held(given: Ingredients) -> tuple[list[int], list[int]]:
    """The numbers of the training pictures to learn from, and of a tenth that is held out to find by it how long."""
    labels = given.train[1].numpy()
    held = folds.divide(labels, given.groups, given.training.seed, TENTHS) == 0
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def fit(
    given: Ingredients, teaching: Sequence[int], held: Sequence[int], on_progress: OnProgress
) -> list[Epoch]:
    """Train the upper part of a learner's body and its head in place, the body more slowly; in mixed precision on a
    GPU. Returns a row for each epoch up to the best, which is what stays in the model.

    In each epoch one view of each picture is learned from, another one each time. What is judged is the moving average
    of the weights (Polyak and Juditsky, 1992): which epoch is the best is found by the pictures `held` out, and
    training ends when there is none better for a while (callbacks.py). When its time is over it ends with what it has
    by then, and says so; at least one batch is learned."""
    learn, training, minutes = given.learn, given.training, given.minutes
    start = time.monotonic()
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    device = features.device()
    learn.model.to(device, memory_format=torch.channels_last).eval()
    lower, upper = splitting.split(learn.model[0], training.image_size)
    network = nn.Sequential(upper, learn.model[1])
    loss_of_each = nn.CrossEntropyLoss(reduction="none", label_smoothing=SMOOTHING)
    (paths, y), (valid_paths, valid_y) = given.train, given.valid
    planned = plan(lower, upper, len(teaching), training.image_size, minutes)
    # In no order of classes, as there may be no time for all; to each process as many as to each other.
    shuffled = [teaching[n] for n in torch.randperm(len(teaching)).tolist()]
    mine = distributed.dealt(shuffled)[: len(shuffled) // distributed.world()]
    wanted = max(1, planned.views // distributed.world())

    @torch.inference_mode()
    def below(batch: Pixels) -> torch.Tensor:
        found: torch.Tensor = lower(features.normalized(batch, training.mean, training.std))
        return found.cpu()

    def go_on(number: int) -> bool:
        on_progress(LOOKING * number / wanted, f"looking at parts of pictures: {number} of {wanted}")
        return time.monotonic() < start + 60 * minutes * LOOKING

    with ExitStack() as closing:

        def activations(at: Sequence[Path]) -> Activations:
            return Activations(closing.enter_context(TemporaryFile(dir=given.root)), at, training.image_size)

        def watched(at: Sequence[Path], labels: torch.Tensor) -> Any:
            of_watched = activations(at)
            of_watched.take(below, len(at))
            return heads.batch_loader(
                len(at),
                lambda items: (of_watched.batch(items).to(device), labels[items].to(device)),
                bs=BATCH,
            )

        def learned(items: list[int]) -> heads.Labelled:
            rows = [seen.row(n, loader.rng.randrange(seen.views(n))) for n in items]
            return seen.batch(rows).to(device), y[mine][items].to(device)

        def losses_of_held() -> torch.Tensor:
            with torch.no_grad():
                return torch.cat([loss_of_each(network(x), labels) for x, labels in of_held])

        of_valid = watched(valid_paths, valid_y)
        of_held = watched([paths[n] for n in held], y[held])
        seen = activations([paths[n] for n in mine])
        seen.take(below, wanted, go_on)
        pictures = min(distributed.of_all(min(seen.number, len(mine))))
        bs = min(pictures, distributed.batch_size(BATCH) // distributed.world())
        loader = heads.batch_loader(pictures, learned, bs=bs, shuffle=True, drop_last=True)
        limit, best = TimeLimit(start + 60 * minutes), BestAverage(losses_of_held if held else None)
        tuned = fv.Learner(
            fv.DataLoaders(loader, of_valid, device=device),
            network,
            loss_func=fv.LabelSmoothingCrossEntropyFlat(SMOOTHING),
            splitter=lambda model: [fv.params(model[0]), fv.params(model[1])],
            metrics=fv.error_rate,
            cbs=[FrozenStatistics(), best, limit, *distributed.callbacks()],
        )
        tuned.unfreeze()
        if device.type == "cuda":
            tuned.to_fp16()
        rows = heads.fit_one_cycle(tuned, planned.epochs, LEARNING_RATES, part(on_progress, LOOKING, 1))
    learn.model.eval()
    done = f"the best of {len(rows)} epochs is number {best.best + 1}"
    if limit.reached:
        done = f"stopped in epoch {len(rows)} of {planned.epochs}: its {minutes:g} minutes are over; {done}"
    on_progress(1, done)
    return rows[: best.best + 1]
