"""Goes on to train the upper part of a body when its head has learned: slower, and better where pictures are many.

A tenth of the training pictures is held out, and says for how many epochs. Where there is time, the network learns once
more from the same beginning, for as many epochs and from all of them (Goodfellow, Bengio and Courville, Deep Learning,
2016, algorithm 7.2). What stays is the mean of both: weights that began alike may be averaged, and their mean is better
than either (Wortsman et al., "Model soups", ICML 2022).

The lower part stays as it came (splitting.py), so each view of a picture passes it once, and what comes out is kept on
disk for the length of the training (activations.py): epochs then cost a third. Memory holds a batch, however many
pictures there are."""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

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


def plan(
    lower: nn.Module, upper: nn.Module, pictures: int, image_size: int, minutes: float, times: int = 1
) -> Plan:
    """What there is time for, and no more than is worth it, if the network is to learn so many `times`."""
    looking, epoch = minutes_of(lower, upper, pictures, image_size)
    share = min(1, minutes * LOOKING / looking) if looking else 1
    epochs = min(EPOCHS, (minutes - share * looking) / epoch / times)
    return Plan(max(int(share * VIEWS * pictures), min(pictures, BATCH)), max(1, int(epochs)))


def has_time_for_twice(
    lower: nn.Module, upper: nn.Module, pictures: int, image_size: int, minutes: float
) -> bool:
    """Whether the network may learn again from all of so many pictures, with all views and for all epochs."""
    return plan(lower, upper, pictures, image_size, minutes, times=2) == Plan(VIEWS * pictures, EPOCHS)


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
) -> tuple[list[Epoch], str]:
    """Train the upper part of a learner's body and its head in place, the body more slowly; in mixed precision on a
    GPU. `teaching` and `held`: the numbers of training pictures. Returns a row for each epoch of which something stays
    in the model, of which the last says how good that is; and in words how it ended.

    In each epoch one view of each picture is learned from, another one each time. What is judged is the moving average
    of the weights (Polyak and Juditsky, 1992): which epoch is the best is found by the pictures `held` out, and
    training ends when there is none better for a while (callbacks.py). When its time is over it ends with what it has
    by then, and says so; at least one batch is learned."""
    learn, training, minutes = given.learn, given.training, given.minutes
    start, (paths, y) = time.monotonic(), given.train
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    learn.model.to(features.device(), memory_format=torch.channels_last).eval()
    lower, upper = splitting.split(learn.model[0], training.image_size)
    network = nn.Sequential(upper, learn.model[1])
    again = bool(held) and has_time_for_twice(lower, upper, len(paths), training.image_size, minutes)
    learned, times = (range(len(paths)), 2) if again else (teaching, 1)
    planned = plan(lower, upper, len(learned), training.image_size, minutes, times)
    # In no order of classes, as there may be no time for all; to each process as many as to each other.
    shuffled = [learned[n] for n in torch.randperm(len(learned)).tolist()]
    mine = distributed.dealt(shuffled)[: len(shuffled) // distributed.world()]
    wanted = max(1, planned.views // distributed.world())
    limit = TimeLimit(start + 60 * minutes)

    @torch.inference_mode()
    def below(batch: Pixels) -> torch.Tensor:
        found: torch.Tensor = lower(features.normalized(batch, training.mean, training.std))
        return found.cpu()

    def go_on(number: int) -> bool:
        on_progress(LOOKING * number / wanted, f"looking at parts of pictures: {number} of {wanted}")
        return time.monotonic() < start + 60 * minutes * LOOKING

    with ExitStack() as closing:

        def seen(at: Sequence[Path], labels: torch.Tensor, number: int = 0, **more: Any) -> Activations:
            file = closing.enter_context(TemporaryFile(dir=given.root))
            found = Activations(file, at, labels, training.image_size)
            found.take(below, number or len(at), **more)
            return found

        of_valid = seen(*given.valid).in_order(BATCH)
        of_held = seen([paths[n] for n in held], y[held]).in_order(BATCH)
        of_train = seen([paths[n] for n in mine], y[mine], wanted, go_on=go_on)

        def losses_of_held() -> torch.Tensor:
            loss_of_each = nn.CrossEntropyLoss(reduction="none", label_smoothing=SMOOTHING)
            with torch.no_grad():
                return torch.cat([loss_of_each(network(x), labels) for x, labels in of_held])

        def learn_from(
            chosen: Collection[int], epochs: int, best: BestAverage, told: OnProgress
        ) -> list[Epoch]:
            """`chosen`: of the pictures of this process."""
            tuned = learner(network, of_train.shuffled(chosen, BATCH), of_valid, [best, limit])
            return heads.fit_one_cycle(tuned, epochs, LEARNING_RATES, told)

        half = (1 + LOOKING) / 2 if again else 1
        beginning = copy.deepcopy(network.state_dict())
        best = BestAverage(losses_of_held if held else None)
        may_teach = {*teaching}
        first = {n for n, picture in enumerate(mine) if picture in may_teach}
        rows = learn_from(first, planned.epochs, best, part(on_progress, LOOKING, half))
        done = f"best after epoch {best.best + 1} of {len(rows)}"
        if limit.reached:
            done = (
                f"stopped in epoch {len(rows)} of {planned.epochs}: its {minutes:g} minutes are over; {done}"
            )
        rows = rows[: best.best + 1]
        if again and not limit.reached:
            mean = AveragedModel(network)
            mean.update_parameters(network)
            network.load_state_dict(beginning)
            more = learn_from(range(len(mine)), len(rows), BestAverage(None), part(on_progress, half, 1))
            if limit.reached:
                done += "; there was no time to learn as long from all pictures"
                network.load_state_dict(mean.module.state_dict())
            else:
                mean.update_parameters(network)
                network.load_state_dict(mean.module.state_dict())
                tuned = learner(network, of_valid, of_valid, [])
                with tuned.no_bar():
                    valid_loss, error_rate = tuned.validate()
                rows += [*more[:-1], Epoch(more[-1].train_loss, valid_loss, error_rate)]
                done += f"; learned as long from all {len(paths)} pictures, and took the mean of both"
    learn.model.eval()
    return rows, done


def learner(network: nn.Module, of_train: Any, of_valid: Any, callbacks: list[fv.Callback]) -> Any:
    """A fastai Learner of the upper part of a body and its head."""
    device = features.device()
    tuned = fv.Learner(
        fv.DataLoaders(of_train, of_valid, device=device),
        network,
        loss_func=fv.LabelSmoothingCrossEntropyFlat(SMOOTHING),
        splitter=lambda model: [fv.params(model[0]), fv.params(model[1])],
        metrics=fv.error_rate,
        cbs=[FrozenStatistics(), *callbacks, *distributed.callbacks()],
    )
    tuned.unfreeze()
    return tuned.to_fp16() if device.type == "cuda" else tuned
