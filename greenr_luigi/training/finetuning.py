"""Goes on to train the upper part of a body when its head has learned: slower, and better where pictures are many.

The lower part stays as it came (splitting.py), so each view of a picture passes it once, and what comes out is kept on
disk for the length of the training: epochs then cost a third. Memory holds a batch, however many pictures there are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from greenr_luigi.dataset.pixels import Pixels
from greenr_luigi.progress import OnProgress, part
from greenr_luigi.training import distributed, features, heads, splitting
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.recipes import Ingredients
from greenr_luigi.training.saved_model import Epoch

#: Of each picture: itself and parts of it (dataset/views.py).
VIEWS = range(8)
EPOCHS = 8
BATCH = 32
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(3e-4, 1e-3)
SMOOTHING = 0.1
#: How much of the mean of the weights a step leaves: that of the last hundred steps or so is the result.
DECAY = 0.99
#: Floating-point operations a second that a small machine can be trusted with. By this, and not by the clock, it is
#: decided for how many epochs there is time: the same pictures give the same model on a busy machine.
SPEED = 30e9
#: Of the time, what may be spent on looking at pictures.
LOOKING = 0.5


def epochs_within(lower: nn.Module, upper: nn.Module, pictures: int, image_size: int, minutes: float) -> int:
    """How many epochs of the upper part of a body over so many pictures there is time for, and no more than are worth
    it."""
    looking, epoch = minutes_of(lower, upper, pictures, image_size)
    return int(max(0, min(EPOCHS, (minutes - looking) / epoch)))


def minutes_of(lower: nn.Module, upper: nn.Module, pictures: int, image_size: int) -> tuple[float, float]:
    """How long the lower part of a body looks at so many pictures, and an epoch of the upper part takes."""
    x = torch.zeros(1, 3, image_size, image_size, device=next(upper.parameters()).device)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as looking:
            x = lower(x)
        with FlopCounterMode(display=False) as forward:
            upper(x)
    minutes = pictures / (60 * SPEED)
    # Backwards takes twice as much as forwards.
    return minutes * len(VIEWS) * looking.get_total_flops(), minutes * 3 * forward.get_total_flops()


def fit(given: Ingredients, on_progress: OnProgress) -> list[Epoch]:
    """Train the upper part of a learner's body and its head in place, the body more slowly; in mixed precision on a
    GPU. Returns a row an epoch. It ends early where its time is over, and says so; at least one batch is learned.

    In each epoch one view of each picture is learned from, another one each time. BatchNorm keeps its statistics, which
    a batch of few pictures would blur. The result is the moving average of the weights (Polyak and Juditsky, 1992)."""
    learn, training, minutes = given.learn, given.training, given.minutes
    deadline = time.monotonic() + 60 * minutes
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    device = features.device()
    learn.model.to(device, memory_format=torch.channels_last).eval()
    lower, upper = splitting.split(learn.model[0], training.image_size)
    epochs = max(1, epochs_within(lower, upper, len(given.train[0]), training.image_size, minutes))
    batch_size = distributed.batch_size(BATCH)
    # Each process learns from pictures of its own, as many as each other.
    mine = distributed.dealt([*range(len(given.train[0]))])[: len(given.train[0]) // distributed.world()]
    paths, y = [given.train[0][n] for n in mine], given.train[1][mine]
    with TemporaryFile(dir=given.root) as file, TemporaryFile(dir=given.root) as of_valid:
        seen, valid = Seen(file), Seen(of_valid)

        @torch.inference_mode()
        def below(batch: Pixels) -> torch.Tensor:
            found: torch.Tensor = lower(features.normalized(batch, training.mean, training.std))
            return found.cpu()

        def look(into: Seen, paths: Sequence[Path], view: int) -> None:
            for batch in features.in_batches(below, paths, training.image_size, view):
                into.add(batch)
                looks = len(VIEWS) * len(mine)
                told = f"looking at parts of pictures: {seen.number} of {looks}"
                on_progress(LOOKING * seen.number / looks, told)

        views = 0
        for view in VIEWS:
            if not view or time.monotonic() < deadline - 60 * minutes * (1 - LOOKING):
                look(seen, paths, view)
                views += 1
        views = min(distributed.of_all(views))
        look(valid, given.valid[0], 0)

        def learned(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            rows = [loader.rng.randrange(views) * len(paths) + n for n in items]
            return seen.batch(rows).to(device), y[items].to(device)

        def validated(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            return valid.batch(items).to(device), given.valid[1][items].to(device)

        bs = min(len(paths), batch_size // distributed.world())
        loader = heads.batch_loader(len(paths), learned, bs=bs, shuffle=True, drop_last=True)
        loaders = fv.DataLoaders(
            loader, heads.batch_loader(len(given.valid[0]), validated, bs=BATCH), device=device
        )
        limit = TimeLimit(deadline)
        tuned = fv.Learner(
            loaders,
            nn.Sequential(upper, learn.model[1]),
            loss_func=fv.LabelSmoothingCrossEntropyFlat(SMOOTHING),
            splitter=lambda model: [fv.params(model[0]), fv.params(model[1])],
            metrics=fv.error_rate,
            cbs=[FrozenStatistics(), Average(), limit, *distributed.callbacks()],
        )
        tuned.unfreeze()
        if device.type == "cuda":
            tuned.to_fp16()
        rows = heads.fit_one_cycle(tuned, epochs, LEARNING_RATES, part(on_progress, LOOKING, 1))
        if limit.reached:
            with tuned.no_bar():
                loss, error = tuned.validate()
            rows.append(Epoch(limit.last_loss, float(loss), float(error)))
            on_progress(1, f"stopped in epoch {len(rows)} of {epochs}: its {minutes:g} minutes are over")
    learn.model.eval()
    return rows


class Seen:
    """What the lower part of a body gives for pictures, row by row in half precision. `file`: a temporary one under
    the data root, since /tmp may be memory; it has no name and is gone with the process."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.shape, self.number = file, torch.Size(), 0

    def add(self, batch: torch.Tensor) -> None:
        self.shape, self.number = batch.shape[1:], self.number + len(batch)
        self.file.write(batch.half().contiguous().numpy().tobytes())

    def batch(self, rows: list[int]) -> torch.Tensor:
        self.file.flush()
        size = 2 * self.shape.numel()
        found = [os.pread(self.file.fileno(), size, row * size) for row in rows]
        batch = np.frombuffer(b"".join(found), np.float16).reshape(len(rows), *self.shape)
        return torch.from_numpy(batch.astype(np.float32)).contiguous(memory_format=torch.channels_last)


class FrozenStatistics(fv.Callback):  # type: ignore[misc]
    def before_train(self) -> None:
        for module in self.learn.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


class Average(fv.Callback):  # type: ignore[misc]
    """Validates the moving average of the weights, and leaves it in the model."""

    order = 90

    def before_fit(self) -> None:
        def towards(mean: torch.Tensor, now: torch.Tensor, steps: Any) -> torch.Tensor:
            return mean.lerp(now, 1 - min(DECAY, (1 + int(steps)) / (10 + int(steps))))

        self.mean_weights: Any = AveragedModel(self.learn.model, avg_fn=towards)

    def after_step(self) -> None:
        self.mean_weights.update_parameters(self.learn.model)

    def _swap(self) -> None:
        if self.mean_weights is None:
            return
        mine, theirs = self.learn.model.parameters(), self.mean_weights.module.parameters()
        with torch.no_grad():
            for one, other in zip(mine, theirs, strict=True):
                kept = one.clone()
                one.copy_(other)
                other.copy_(kept)

    def before_validate(self) -> None:
        self._swap()

    def after_validate(self) -> None:
        self._swap()

    def after_fit(self) -> None:
        self._swap()
        self.mean_weights = None


class TimeLimit(fv.Callback):  # type: ignore[misc]
    """Ends training at a time of time.monotonic(), for all processes alike. `last_loss`: that of the last batch."""

    def __init__(self, deadline: float) -> None:
        self.deadline, self.reached, self.last_loss = deadline, False, 0.0

    def after_batch(self) -> None:
        if self.training and any(distributed.of_all(time.monotonic() > self.deadline)):
            self.reached, self.last_loss = True, float(self.learn.loss.detach())
            raise fv.CancelFitException
