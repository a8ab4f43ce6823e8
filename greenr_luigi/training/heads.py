"""The head of a model, trained on features that the body has computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from greenr_luigi.progress import OnProgress
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch

#: The peak of the one-cycle schedule and Adam's decoupled weight decay; docs/benchmarks.md has what others gave.
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1


def batch_size(pictures: int) -> int:
    """So that an epoch over few pictures still takes some eight steps; BatchNorm wants 16 at once."""
    return min(pictures, 64, max(16, pictures // 8))


class EpochProgress(fv.Callback):  # type: ignore[misc]
    """Tells of each epoch that is done."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress = on_progress

    def after_epoch(self) -> None:
        numbers = zip(self.recorder.metric_names[1:-1], self.recorder.log[1:], strict=True)
        words = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in numbers)
        self.on_progress(
            (self.epoch + 1) / self.n_epoch, f"epoch {self.epoch + 1} of {self.n_epoch}: {words}"
        )


def fit_one_cycle(
    learn: Any,
    epochs: int,
    learning_rate: float | slice,
    on_progress: OnProgress,
    cbs: Sequence[Any] = (),
    **options: Any,
) -> list[Epoch]:
    """fastai's fit_one_cycle of a learner, with what its recorder noted of each epoch. `cbs`: further fastai callbacks,
    such as MixUp; `options`: further arguments of it."""
    with learn.no_bar(), learn.no_logging(), learn.added_cbs([EpochProgress(on_progress), *cbs]):
        learn.fit_one_cycle(epochs, learning_rate, **options)
    names = learn.recorder.metric_names[1:-1]
    return [Epoch(**dict(zip(names, map(float, row), strict=True))) for row in learn.recorder.values]


def fit(
    head: nn.Module,
    train: tuple[torch.Tensor, torch.Tensor],
    valid: tuple[torch.Tensor, torch.Tensor],
    epochs: int,
    seed: int,
    on_progress: OnProgress,
    smoothing: float = 0.0,
    cbs: Sequence[Any] = (),
) -> list[Epoch]:
    """Train `head` in place; features are (n, features, 1, 1) as `features.pooled` gives them, with class numbers. The
    same seed on the same machine and thread count gives the same head. `smoothing` of the labels and further fastai
    callbacks `cbs` are for experiments."""
    fv.set_seed(seed, reproducible=True)
    # A linear layer learns as well from zero as from random weights, and does not keep what was random in them:
    # lower loss, and less harm from wrong labels (docs/benchmarks.md).
    nn.init.zeros_([module for module in head.modules() if isinstance(module, nn.Linear)][-1].weight)
    loaders = fv.DataLoaders(
        tensor_loader(*train, bs=batch_size(len(train[1])), shuffle=True, drop_last=True),
        tensor_loader(*valid, bs=256),
    )
    loss = fv.LabelSmoothingCrossEntropyFlat(smoothing) if smoothing else fv.CrossEntropyLossFlat()
    learn = fv.Learner(loaders, head, loss_func=loss, metrics=fv.error_rate)
    threads = torch.get_num_threads()
    # So little arithmetic is slower on several threads than on one, much slower where others want the cores too.
    torch.set_num_threads(1)
    try:
        return fit_one_cycle(learn, epochs, LEARNING_RATE, on_progress, cbs, wd=WEIGHT_DECAY)
    finally:
        torch.set_num_threads(threads)


def tensor_loader(x: torch.Tensor, y: torch.Tensor, **options: Any) -> Any:
    """A fastai DataLoader that takes a whole batch out of tensors at once instead of item by item."""

    def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return x[items], y[items]

    return fv.DataLoader(range(len(y)), create_batch=create_batch, num_workers=0, **options)
