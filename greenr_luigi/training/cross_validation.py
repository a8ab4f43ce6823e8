"""Cross-validation of a head: all pictures that are not for testing teach it, and all of them judge it.

    fold = folds.of_rows(rows, classes, seed)
    judged = cross_validation.out_of_fold(learn.model[1], x, y, fold, training, on_progress)
    error = judged.error(x, y)
    learn.model[1].load_state_dict(judged.of_all)

The pictures are divided into folds. Of each fold, a head that has learned from the others says what it sees. So each
picture has an answer of a head that has not learned from it, which costs seconds where features are at hand. The head
that serves learns from all of them, beside the others. It has a quarter more to learn from than those that are judged,
so that these are, if anything, a little worse than it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from greenr_luigi.progress import OnProgress
from greenr_luigi.training import folds, heads, linear_head
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch, Training

#: In place of a class number: a picture that does not teach a head. PyTorch's cross_entropy passes over it.
HELD = -100


def out_of_fold(
    head: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    fold: folds.Ints,
    training: Training,
    on_progress: OnProgress,
    weight_decay: float = heads.WEIGHT_DECAY,
) -> folds.OutOfFold:
    """Train a head for each fold on the pictures of the others, and one on all pictures, as heads.fit trains one.
    `head` stays as it is; that which has learned from all is `OutOfFold.of_all`.

    `x`: the features of each picture, (pictures, features, 1, 1); it may hold those of further views of them behind, as
    of parts of them: a multiple of the pictures, in the same order. A head learns from all views of a picture, and is
    judged by the first. Features are not copied. `y`: the class number of each picture. `fold`: as folds.divide gives
    it, with at least one picture that is judged."""
    numbers, pictures = folds.numbers(fold), len(y)
    # The last head learns from all.
    held = torch.from_numpy(np.stack([*(fold == k for k in numbers), np.zeros(len(fold), bool)]))
    fv.set_seed(training.seed, reproducible=True)
    side_by_side, size = SideBySide(head, len(held)), heads.batch_size(len(x))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for chosen in torch.split(torch.randperm(len(x)), size)[: len(x) // size]:
            of = chosen % pictures
            labels = y[of].masked_fill(held[:, of], HELD)
            yield x[chosen].flatten(1), labels, labels

    def judged() -> folds.OutOfFold:
        made = linear_head.without_norm(side_by_side.norm, side_by_side.weight)
        weight, bias = (np.zeros((folds.FOLDS, *of.shape[1:]), np.float32) for of in (made.weight, made.bias))
        weight[numbers], bias[numbers] = made.weight[:-1], made.bias[:-1]
        return folds.OutOfFold(fold, weight, bias, judging.history, side_by_side.state_of(head, -1))

    judging = Judging(judged, x, y)
    with linear_head.on_one_thread():
        loaders = fv.DataLoaders(heads.whole_batches(len(x) // size, batches), heads.whole_batches(0, tuple))
        learn = fv.Learner(loaders, side_by_side, cbs=[judging], loss_func=loss_of_all, metrics=fv.error_rate)
        told = _of_heads(on_progress, len(numbers))
        peak = heads.learning_rate(size)
        heads.fit_one_cycle(learn, training.epochs, peak, told, heads=len(held), wd=weight_decay)
    return judged()


def loss_of_all(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The sum over SideBySide's heads of what each loses on the mean of its pictures: (heads, pictures, classes) and
    (heads, pictures). So each learns as if it were alone."""
    lost = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return (lost.view_as(labels).sum(1) / (labels != HELD).sum(1).clamp(min=1)).sum()


class SideBySide(nn.Module):
    """Copies of a head that learn side by side from the same pictures, but for those that are held from one or the
    other, and each as if it were alone: with a BatchNorm, which sees its own pictures, and a linear layer, both as
    of `head`, in one multiplication for all. A step of one is mostly fastai's loop, which they share."""

    def __init__(self, head: nn.Module, number: int) -> None:
        super().__init__()
        norm, linear = linear_head.layer(head, nn.BatchNorm1d), linear_head.layer(head, nn.Linear)
        self.dropped = linear_head.layer(head, nn.Dropout).p
        # It only holds what it would learn.
        self.norm = nn.BatchNorm1d(number * norm.num_features, norm.eps, norm.momentum)
        of_one = norm.state_dict().items()
        self.norm.load_state_dict({name: of.repeat(number) if of.ndim else of for name, of in of_one})
        self.weight = nn.Parameter(torch.zeros(number, *linear.weight.shape))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Logits (heads, pictures, classes) of pooled features (pictures, features). `labels` (heads, pictures): HELD
        where a picture does not teach a head."""
        mean, variance = self.see(x, labels != HELD)
        gain, shift = (of.view_as(mean) for of in (self.norm.weight, self.norm.bias))
        gain = gain / torch.sqrt(variance + self.norm.eps)
        # The same features are dropped for all: to draw them is much of what a step costs.
        kept = self.kept(x.shape)
        of_values, of_places = (
            (self.weight * of[:, None]).flatten(0, 1).T for of in (gain, shift - mean * gain)
        )
        logits = (x * kept) @ of_values + kept @ of_places
        return logits.view(len(x), *self.weight.shape[:2]).transpose(0, 1)

    def kept(self, shape: torch.Size) -> torch.Tensor:
        """What Dropout would make of ones: so many bytes of chance are drawn in a tenth of the time."""
        words = torch.empty(-(-shape.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        chance = words.view(torch.uint8)[: shape.numel()].view(shape)
        return (chance >= round(256 * self.dropped)).float().div_(1 - self.dropped)

    @torch.no_grad()
    def see(self, x: torch.Tensor, taught: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance (heads, features) of what teaches each head, `taught` (heads, pictures), of which the norm
        takes notice as BatchNorm1d does."""
        number = taught.sum(1, keepdim=True).float()
        some = taught / number.clamp(min=1)
        mean = some @ x
        variance = (some @ x.square() - mean.square()).clamp(min=0)
        norm = self.norm
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        unbiased = variance * number / (number - 1).clamp(min=1)
        norm.num_batches_tracked += 1
        for noted, now in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            # One picture has no variance.
            step = norm.momentum * (number > 1)
            noted.view_as(now).add_(step * (now - noted.view_as(now)))
        return mean, variance

    def state_of(self, head: nn.Module, number: int) -> dict[str, torch.Tensor]:
        """What `head` would hold, had it learned in place of one of these: a state dict."""
        taught = copy.deepcopy(head)
        norm, linear = linear_head.layer(taught, nn.BatchNorm1d), linear_head.layer(taught, nn.Linear)
        with torch.no_grad():
            linear.weight.copy_(self.weight[number])
            for name, of_one in norm.state_dict().items():
                of_all = self.norm.state_dict()[name]
                of_one.copy_(of_all.view(-1, *of_one.shape)[number] if of_one.ndim else of_all)
        return taught.state_dict()


class Judging(fv.Callback):  # type: ignore[misc]
    """Has each picture judged after each epoch: `history`."""

    order = fv.Recorder.order + 1
    # fastai need not look, at each batch, for what is to be done then.
    run_train = run_valid = False

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
        # That of all heads together.
        train_loss = float(self.recorder.log[1]) / len(self.learn.model.weight)
        self.history.append(Epoch(train_loss, float(loss), float(wrong)))


def _of_heads(on_progress: OnProgress, number: int) -> OnProgress:
    return lambda fraction, words: on_progress(fraction, f"cross-validation, {number} heads, {words}")
