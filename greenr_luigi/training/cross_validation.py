"""Cross-validation of a head: all pictures that are not for testing teach it, and all of them judge it.

    fold = folds.of_rows(rows, classes, seed)
    judged = cross_validation.out_of_fold(learn.model[1], x, y, fold, training, on_progress)
    error = judged.error(x, y)

The pictures are divided into folds. Of each fold, a head that has learned from the others says what it sees. So each
picture has an answer of a head that has not learned from it, which costs seconds where features are at hand. The head
that serves learns from all of them. It has a quarter more to learn from than those that are judged, so that these are,
if anything, a little worse than it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from greenr_luigi.progress import OnProgress
from greenr_luigi.training import folds, heads, linear_head
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch, Training

#: That of fastai's Adam.
EPSILON = 1e-5


def out_of_fold(
    head: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    fold: folds.Ints,
    training: Training,
    on_progress: OnProgress,
    weight_decay: float = heads.WEIGHT_DECAY,
) -> folds.OutOfFold:
    """Train a head for each fold on the pictures of the others, as heads.fit trains one. `head` stays as it is.

    `x`: the features of each picture, (pictures, features, 1, 1); it may hold those of further views of them behind, as
    of parts of them: a multiple of the pictures, in the same order. A head learns from all views of a picture, and is
    judged by the first. Features are not copied. `y`: the class number of each picture. `fold`: as folds.divide gives
    it, with at least one picture that is judged."""
    numbers, pictures = folds.numbers(fold), len(y)
    rows = [torch.from_numpy(rows_of(fold != k, len(x) // pictures)) for k in numbers]
    fv.set_seed(training.seed, reproducible=True)
    side_by_side, order = SideBySide(head, len(numbers)), Order(rows)

    def batch(items: list[int]) -> heads.Labelled:
        chosen = order.shuffled[:, items]
        return x[chosen].flatten(2), y[chosen % pictures]

    def judged() -> folds.OutOfFold:
        made = linear_head.without_norm(side_by_side.norm, side_by_side.weight)
        weight, bias = (np.zeros((folds.FOLDS, *of.shape[1:]), np.float32) for of in (made.weight, made.bias))
        weight[numbers], bias[numbers] = made.weight, made.bias
        return folds.OutOfFold(fold, weight, bias, judging.history)

    judging, size = Judging(judged, x, y), heads.batch_size(min(map(len, rows)))
    loader = heads.batch_loader(max(map(len, rows)), batch, bs=size, drop_last=True)
    # A head has a part of the mean loss; with a smaller epsilon Adam takes the steps that it takes for one head.
    adam = partial(fv.Adam, eps=EPSILON / len(numbers))
    options = {"loss_func": loss_of_all, "opt_func": adam, "metrics": fv.error_rate}
    with heads.on_one_thread():
        loaders = fv.DataLoaders(loader, heads.batch_loader(0, batch))
        learn = fv.Learner(loaders, side_by_side, cbs=[order, judging], **options)
        told = _of_heads(on_progress, len(numbers))
        heads.fit_one_cycle(learn, training.epochs, heads.LEARNING_RATE, told, wd=weight_decay)
    return judged()


def rows_of(chosen: folds.Bools, views: int) -> folds.Ints:
    """The rows of some pictures in all views, as `out_of_fold` has them."""
    rows = np.flatnonzero(chosen)
    return np.concatenate([rows + view * len(chosen) for view in range(views)])


def loss_of_all(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of what SideBySide's heads lose, (heads, pictures, classes) and (heads, pictures)."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


class SideBySide(nn.Module):
    """Copies of a head that learn side by side, each from pictures of its own and as if it were alone. A step of one is
    mostly fastai's loop, which they share."""

    def __init__(self, head: nn.Module, number: int) -> None:
        super().__init__()
        norm, linear = linear_head.layer(head, nn.BatchNorm1d), linear_head.layer(head, nn.Linear)
        self.dropout = nn.Dropout(linear_head.layer(head, nn.Dropout).p)
        self.norm = nn.BatchNorm1d(number * norm.num_features, norm.eps, norm.momentum)
        self.weight = nn.Parameter(torch.zeros(number, *linear.weight.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (heads, pictures, classes) of pooled features (heads, pictures, features)."""
        normal = self.norm(x.transpose(0, 1).flatten(1)).unflatten(1, (len(x), -1))
        # The same features are dropped for all: to draw them is half of what a step costs.
        kept = self.dropout(torch.ones_like(normal[:, :1]))
        return torch.einsum("nhf,hcf->hnc", normal * kept, self.weight)


class Order(fv.Callback):  # type: ignore[misc]
    """Shuffles anew, for each epoch, the rows that each head learns from: `shuffled` (heads, rows). A head with fewer
    than others sees some again."""

    def __init__(self, rows: Sequence[torch.Tensor]) -> None:
        self.rows, self.longest = rows, max(map(len, rows))
        self.before_epoch()

    def before_epoch(self) -> None:
        again = torch.arange(self.longest)
        self.shuffled = torch.stack([own[torch.randperm(len(own))][again % len(own)] for own in self.rows])


class Judging(fv.Callback):  # type: ignore[misc]
    """Has each picture judged after each epoch: `history`."""

    order = fv.Recorder.order + 1

    def __init__(self, judged: Callable[[], folds.OutOfFold], x: torch.Tensor, y: torch.Tensor) -> None:
        self.judged, self.pictures, self.labels = judged, x, y
        self.history: list[Epoch] = []

    def after_epoch(self) -> None:
        found = self.judged()
        logits, labels = (
            torch.from_numpy(found.logits(self.pictures)[found.judged]),
            self.labels[found.judged],
        )
        loss = nn.functional.cross_entropy(logits, labels)
        wrong = (logits.argmax(1) != labels).double().mean()
        self.history.append(Epoch(float(self.recorder.log[1]), float(loss), float(wrong)))


def _of_heads(on_progress: OnProgress, number: int) -> OnProgress:
    return lambda fraction, words: on_progress(fraction, f"cross-validation, {number} heads, {words}")
