"""What happens at each step and epoch while the upper part of a body learns (finetuning.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from greenr_luigi.training import distributed
from greenr_luigi.training.libraries import fv

#: How much of the mean of the weights a step leaves: that of the last hundred steps or so is validated.
DECAY = 0.99
#: Epochs without a better one after which training ends.
PATIENCE = 3


class FrozenStatistics(fv.Callback):  # type: ignore[misc]
    """BatchNorm keeps its statistics, which a batch of few pictures would blur."""

    def before_train(self) -> None:
        for module in self.learn.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


class BestAverage(fv.Callback):  # type: ignore[misc]
    """Validates the moving average of the weights, and leaves in the model that of the best epoch, which is `best`.
    Training ends when there was none better for PATIENCE epochs. `losses`: says what the model loses on each of some
    pictures that are held out for that; None: the last epoch is the best.

    Few pictures cannot tell two epochs apart, and a later one has smaller steps behind it: so the best is the last that
    is not worse than the one with the least loss by more than one standard error of their difference (after the rule of
    Breiman et al., 1984)."""

    order = 90

    def __init__(self, losses: Callable[[], torch.Tensor] | None) -> None:
        self.losses, self.best = losses, 0
        self.least: torch.Tensor | None = None
        self.kept: list[torch.Tensor] = []

    def before_fit(self) -> None:
        def towards(mean: torch.Tensor, now: torch.Tensor, steps: Any) -> torch.Tensor:
            return mean.lerp(now, 1 - min(DECAY, (1 + int(steps)) / (10 + int(steps))))

        self.mean_weights: Any = AveragedModel(self.learn.model, avg_fn=towards)

    def after_step(self) -> None:
        self.mean_weights.update_parameters(self.learn.model)

    def before_validate(self) -> None:
        self.own = self._exchanged(list(self.mean_weights.module.parameters()))

    def after_validate(self) -> None:
        good = self._is_good() or not self.kept
        averaged = self._exchanged(self.own)
        if good:
            self.best, self.kept = self.learn.epoch, averaged

    def _is_good(self) -> bool:
        if not self.losses:
            return True
        # All processes go by what the first finds: other processors compute otherwise in the last digits.
        losses = distributed.of_all(self.losses().cpu())[0]
        if self.least is None or losses.mean() < self.least.mean():
            self.least = losses
        worse = losses - self.least
        return bool(worse.mean() <= worse.std(correction=0) / len(worse) ** 0.5)

    def after_epoch(self) -> None:
        if self.learn.epoch - self.best >= PATIENCE:
            raise fv.CancelFitException

    def after_fit(self) -> None:
        self._exchanged(self.kept)
        self.mean_weights = None

    def _exchanged(self, weights: list[torch.Tensor]) -> list[torch.Tensor]:
        """Those that the model had in their place."""
        own = [parameter.detach().clone() for parameter in self.learn.model.parameters()]
        with torch.no_grad():
            for parameter, value in zip(self.learn.model.parameters(), weights, strict=True):
                parameter.copy_(value)
        return own


class TimeLimit(fv.Callback):  # type: ignore[misc]
    """Ends training at a time of time.monotonic(), for all processes alike. What was learned by then is validated as an
    epoch is."""

    order = fv.Recorder.order + 1

    def __init__(self, deadline: float) -> None:
        self.deadline, self.reached = deadline, False

    def after_batch(self) -> None:
        if self.training and any(distributed.of_all(time.monotonic() > self.deadline)):
            self.reached = True
            raise fv.CancelTrainException

    def after_cancel_train(self) -> None:
        # The Recorder would leave out the training loss of an epoch that was ended early.
        self.recorder.cancel_train = False

    def after_epoch(self) -> None:
        if self.reached:
            raise fv.CancelFitException
