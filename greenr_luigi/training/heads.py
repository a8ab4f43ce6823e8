"""The head of a model, trained on features that the body has computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from greenr_luigi.progress import OnProgress
from greenr_luigi.training import linear_head
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch, Training

#: The peak of the one-cycle schedule and Adam's decoupled weight decay; docs/benchmarks-appendix.md, Recipes, has what
#: others gave.
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
#: Pictures of a batch where there are hundreds, and where there are many.
BATCH, LARGEST_BATCH = 64, 512
#: Features (n, features, 1, 1) as `features.pooled` gives them, and class numbers (n,).
Labelled = tuple[torch.Tensor, torch.Tensor]


class EpochProgress(fv.Callback):  # type: ignore[misc]
    """Tells of each epoch that is done. `heads`: how many the training loss is the sum of."""

    # fastai need not look, at each batch, for what is to be done then.
    run_train = run_valid = False

    def __init__(self, on_progress: OnProgress, heads: int = 1) -> None:
        self.on_progress, self.heads = on_progress, heads

    def after_epoch(self) -> None:
        train_loss, *others = self.recorder.log[1:]
        numbers = zip(self.recorder.metric_names[1:-1], (train_loss / self.heads, *others), strict=True)
        # Nothing is told of the validation pictures where there are none.
        told = (f"{name.replace('_', ' ')} {value:.3f}" for name, value in numbers if value is not None)
        words = ", ".join(told)
        done = self.epoch + 1
        self.on_progress(done / self.n_epoch, f"epoch {done} of {self.n_epoch}: {words}")


def fit_one_cycle(
    learn: Any,
    epochs: int,
    learning_rate: float | slice,
    on_progress: OnProgress,
    heads: int = 1,
    **options: Any,
) -> list[Epoch]:
    """Train a learner in place by fastai's fit_one_cycle, and return what its recorder noted of each epoch; NaN is what
    takes validation pictures where there are none. `heads`: as for EpochProgress."""
    with learn.no_bar(), learn.no_logging(), learn.added_cbs(EpochProgress(on_progress, heads)):
        learn.fit_one_cycle(epochs, learning_rate, **options)
    return [
        Epoch(*(math.nan if value is None else float(value) for value in row))
        for row in learn.recorder.values
    ]


def fit(
    head: nn.Module,
    train: Labelled,
    valid: Labelled | None,
    training: Training,
    on_progress: OnProgress,
    weight_decay: float = WEIGHT_DECAY,
    among: Sequence[int] | None = None,
    **options: Any,
) -> list[Epoch]:
    """Train `head` in place, on all of `train`, or on those of these numbers `among` it, of which no copy is made;
    `valid` is only watched. The same seed on the same machine and thread count gives the same head. `options`: others
    than ours for fastai's Learner, for experiments."""
    fv.set_seed(training.seed, reproducible=True)
    # A linear layer learns as well from zero as from random weights, and does not keep what was random in them:
    # lower loss, and less harm from wrong labels (docs/benchmarks-appendix.md).
    nn.init.zeros_([module for module in head.modules() if isinstance(module, nn.Linear)][-1].weight)

    def tensor_loader(x: torch.Tensor, y: torch.Tensor, which: Sequence[int], **options: Any) -> Any:
        def create_batch(items: list[int]) -> Labelled:
            numbers = [which[item] for item in items]
            return x[numbers], y[numbers]

        return batch_loader(len(which), create_batch, **options)

    x, y = valid or (train[0], train[1][:0])
    which = range(len(train[1])) if among is None else among
    size = batch_size(len(which))
    loaders = fv.DataLoaders(
        tensor_loader(*train, which, bs=size, shuffle=True, drop_last=True),
        tensor_loader(x, y, range(len(y)), bs=256),
    )
    options = {"loss_func": fv.CrossEntropyLossFlat(), "metrics": fv.error_rate} | options
    with linear_head.on_one_thread():
        learn = fv.Learner(loaders, head, **options)
        return fit_one_cycle(learn, training.epochs, learning_rate(size), on_progress, wd=weight_decay)


def batch_size(pictures: int) -> int:
    """An epoch over few pictures still takes some eight steps; BatchNorm wants 16 pictures at once. One over thousands
    takes some 20: more of them teach no more, and are most of what it costs (docs/benchmarks-appendix.md, Recipes)."""
    return min(pictures, LARGEST_BATCH, max(16, min(BATCH, pictures // 8), pictures // 20))


def learning_rate(batch: int) -> float:
    """The peak for such batches: by the square root of what is larger than BATCH, as Adam wants it (Malladi, Lyu,
    Panigrahi and Arora, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022)."""
    return LEARNING_RATE * math.sqrt(max(1, batch / BATCH))


def batch_loader(pictures: int, create_batch: Callable[[list[int]], Labelled], **options: Any) -> Any:
    """A fastai DataLoader that takes a whole batch at once, by the pictures' numbers, instead of item by item."""
    return fv.DataLoader(range(pictures), create_batch=create_batch, num_workers=0, **options)


def whole_batches(number: int, create: Callable[[], Iterable[Any]]) -> Any:
    """A fastai DataLoader of so many batches, which `create` gives anew for each epoch."""
    return fv.DataLoader(range(number), bs=None, create_batches=lambda numbers: create(), num_workers=0)
