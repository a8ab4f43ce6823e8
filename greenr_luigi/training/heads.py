"""The head of a model, trained on features that the body has seen once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from greenr_luigi.progress import OnProgress
from greenr_luigi.training.libraries import fv

#: The peak of the one-cycle schedule and Adam's decoupled weight decay; docs/benchmarks.md has what others gave.
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1


def batch_size(pictures: int) -> int:
    """So that an epoch over few pictures still takes some eight steps; BatchNorm wants 16 to see at once."""
    return min(pictures, 64, max(16, pictures // 8))


class _Tensors(fv.DataLoader):  # type: ignore[misc]
    """A fastai DataLoader that takes a whole batch out of tensors at once instead of item by item."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, **options: Any) -> None:
        super().__init__(range(len(y)), **options)
        self.x, self.y = x, y

    def create_batch(self, items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.x[items], self.y[items]


class Epochs(fv.Callback):  # type: ignore[misc]
    """Tells of each epoch that is done."""

    def __init__(self, progress: OnProgress) -> None:
        self.progress = progress

    def after_epoch(self) -> None:
        row = dict(zip(self.recorder.metric_names[1:], self.recorder.log[1:], strict=False))
        words = ", ".join(
            f"{name.replace('_', ' ')} {value:.3f}" for name, value in row.items() if isinstance(value, float)
        )
        self.progress((self.epoch + 1) / self.n_epoch, f"epoch {self.epoch + 1} of {self.n_epoch}: {words}")


def fit(
    head: nn.Module, train: tuple[torch.Tensor, torch.Tensor], valid: tuple[torch.Tensor, torch.Tensor],
    epochs: int, seed: int, progress: OnProgress, smoothing: float = 0.0, cbs: Sequence[Any] = (),
) -> list[dict[str, float]]:  # fmt: skip
    """Train `head` in place by fastai's fit_one_cycle; x is (n, features, 1, 1) as `features.pooled` gives
    it and y the class numbers. The same seed on the same machine and thread count gives the same head.
    `cbs`: further fastai callbacks, such as MixUp.

    A row an epoch: train_loss, valid_loss, error_rate.
    """
    fv.set_seed(seed, reproducible=True)
    # A linear layer learns as well from zero as from random weights, and does not keep what was random in them:
    # lower loss, and less harm from wrong labels (docs/benchmarks.md).
    nn.init.zeros_([module for module in head.modules() if isinstance(module, nn.Linear)][-1].weight)
    loaders = fv.DataLoaders(
        _Tensors(*train, bs=batch_size(len(train[1])), shuffle=True, drop_last=True, num_workers=0),
        _Tensors(*valid, bs=256, num_workers=0),
    )
    loss = fv.LabelSmoothingCrossEntropyFlat(smoothing) if smoothing else fv.CrossEntropyLossFlat()
    learn = fv.Learner(loaders, head, loss_func=loss, metrics=fv.error_rate, cbs=[Epochs(progress), *cbs])
    threads = torch.get_num_threads()
    # So little arithmetic is slower on several threads than on one, much slower where others want the cores too.
    torch.set_num_threads(1)
    try:
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(epochs, LEARNING_RATE, wd=WEIGHT_DECAY)
    finally:
        torch.set_num_threads(threads)
    return history(learn)


def history(learn: Any) -> list[dict[str, float]]:
    """What a learner's recorder noted: a row an epoch."""
    names = learn.recorder.metric_names[1:-1]
    return [dict(zip(names, map(float, row), strict=True)) for row in learn.recorder.values]
