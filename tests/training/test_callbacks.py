import pytest
import torch
from torch import nn

from greenr_luigi.training import callbacks, heads
from greenr_luigi.training.callbacks import PATIENCE, BestAverage, TimeLimit
from greenr_luigi.training.libraries import fv
from tests.progress import quiet

pytestmark = pytest.mark.slow


class Weights(fv.Callback):
    """What is validated in each epoch."""

    order = BestAverage.order - 1

    def __init__(self):
        self.of_epochs = []

    def after_validate(self):
        self.of_epochs.append(self.learn.model.weight.detach().clone())


def fitted(*cbs: fv.Callback):
    """A learner of 8 epochs of 4 steps, its history, and what was validated."""
    x, y = torch.randn(32, 3, generator=torch.Generator().manual_seed(1)), torch.arange(32) % 2

    def batch(items):
        return x[items], y[items]

    loaders = fv.DataLoaders(
        heads.batch_loader(32, batch, bs=8, shuffle=True), heads.batch_loader(32, batch, bs=8)
    )
    loss, seen = fv.CrossEntropyLossFlat(), Weights()
    learn = fv.Learner(loaders, nn.Linear(3, 2), loss_func=loss, metrics=fv.error_rate, cbs=[seen, *cbs])
    return learn, heads.fit_one_cycle(learn, 8, 0.01, quiet), seen.of_epochs


def test_training_ends_when_nothing_gets_better_and_the_best_stays():
    losses = iter([3.0, 1.0, *[2.0] * 6])
    best = BestAverage(lambda: torch.tensor([next(losses)] * 9))
    learn, history, seen = fitted(best)
    assert best.best == 1 and len(history) == len(seen) == 2 + PATIENCE
    assert torch.equal(learn.model.weight, seen[1]) and not torch.equal(seen[1], seen[-1])


def test_a_later_epoch_is_taken_that_is_not_clearly_worse():
    """Worse by 0.1 in the mean, with a standard error of 0.3; then by as much with one of nothing."""
    doubtful, clear = torch.tensor([2.0, 0.2] * 5), torch.full((10,), 1.1)
    losses = iter([torch.ones(10), doubtful, *[clear] * 6])
    learn, history, seen = fitted(best := BestAverage(lambda: next(losses)))
    assert best.best == 1 and len(history) == 2 + PATIENCE
    assert torch.equal(learn.model.weight, seen[1])


def test_the_last_epoch_is_the_best_where_nothing_is_held_out():
    learn, history, seen = fitted(best := BestAverage(None))
    assert best.best == 7 and len(history) == 8
    assert torch.equal(learn.model.weight, seen[7])


def test_what_was_learned_when_the_time_is_over_is_validated_and_kept(monkeypatch):
    """In the second step of the second epoch."""
    now = iter(range(100))
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: next(now))
    limit = TimeLimit(4)
    learn, history, seen = fitted(BestAverage(None), limit)
    assert limit.reached and len(history) == len(seen) == 2
    assert all(0 < epoch.train_loss < 5 and 0 < epoch.valid_loss < 5 for epoch in history)
    assert torch.equal(learn.model.weight, seen[1]) and not torch.equal(seen[0], seen[1])
