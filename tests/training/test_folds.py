"""Cross-validation: what stays together, that each picture is judged by a head that has not learned from it, and what
comes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from greenr_luigi.training import cross_validation, folds, heads, linear_head
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Training, Weights
from tests.progress import quiet

pytestmark = pytest.mark.slow

TRAINING = Training("a", ["a", "b"], 8, [], [], "head", epochs=3, seed=1, weights=Weights("", ""))
ALONE = st.lists(st.integers(0, 3), min_size=1, max_size=60)
GROUPED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=1, max_size=60)


@given(ALONE, st.integers(0, 9))
def test_each_class_is_spread_evenly(labels: list[int], seed: int) -> None:
    fold = folds.divide(np.array(labels), [str(n) for n in range(len(labels))], seed)
    for label, pictures in Counter(labels).items():
        counts = Counter(k for k, of in zip(fold.tolist(), labels, strict=True) if of == label)
        if pictures == 1:
            assert counts == {folds.ALWAYS: 1}
        else:
            assert {counts[k] for k in range(folds.FOLDS)} <= {pictures // 5, -(-pictures // 5)}


@given(GROUPED, st.integers(0, 9))
def test_a_group_stays_together_and_no_class_has_nothing_to_learn_from(
    pictures: list[tuple[int, int]], seed: int
) -> None:
    labels, groups = np.array([label for label, _ in pictures]), [f"{group}" for _, group in pictures]
    fold = folds.divide(labels, groups, seed)
    of = {group: {k for k, g in zip(fold.tolist(), groups, strict=True) if g == group} for group in groups}
    assert {len(where) for where in of.values()} == {1}
    for k in set(fold.tolist()) - {folds.ALWAYS}:
        assert set(labels[fold != k]) == set(labels), "what a fold's head learns from"


def test_the_order_counts_nothing_and_the_seed_does() -> None:
    labels, groups = np.arange(40) % 2, [str(n // 2) for n in range(40)]
    first = folds.divide(labels, groups, 1)
    shuffled = np.random.default_rng(0).permutation(40)
    again = folds.divide(labels[shuffled], [groups[n] for n in shuffled], 1)
    assert (first[shuffled] == again).all() and (folds.divide(labels, groups, 2) != first).any()


def test_a_class_of_one_group_always_teaches() -> None:
    labels = np.array([0] * 10 + [1] * 4 + [2])
    fold = folds.divide(labels, [str(n) for n in range(10)] + ["burst"] * 4 + ["alone"], 0)
    assert (fold[10:] == folds.ALWAYS).all() and (fold[:10] != folds.ALWAYS).all()
    nothing = folds.divide(np.array([0, 1, 0]), ["a", "a", "a"], 0)
    assert (nothing == folds.ALWAYS).all(), "nothing can be judged"


def clouds(pictures: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(pictures) % 2
    return torch.randn(pictures, 6, 1, 1, generator=generator) + 4 * y[:, None, None, None], y


def head(dropped: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = fv.create_head(6, 2, lin_ftrs=[], concat_pool=False)
    next(module for module in made.children() if isinstance(module, nn.Dropout)).p = dropped
    return made


def test_nothing_of_a_picture_is_in_the_head_that_judges_it(tmp_path: Path) -> None:
    x, y = clouds()
    fold = folds.divide(y.numpy(), [str(n) for n in range(40)], 0)
    found = cross_validation.out_of_fold(head(), x, y, fold, TRAINING, quiet)
    assert len(found.history) == 3 and found.error(x, y) < 0.1
    held = fold == 2
    other, turned = x.clone(), y.clone()
    other[held], turned[held] = -9 * x[held], 1 - y[held]
    again = cross_validation.out_of_fold(head(), other, turned, fold, TRAINING, quiet)
    assert (found.weight[2] == again.weight[2]).all() and (found.bias[2] == again.bias[2]).all()
    assert all((found.weight[k] != again.weight[k]).any() for k in (0, 1, 3, 4))
    found.save(tmp_path)
    read = folds.load(tmp_path)
    assert read and (read.logits(x) == found.logits(x)).all() and (read.fold == fold).all()
    assert folds.load(tmp_path / "none") is None


def test_it_judges_as_heads_that_are_trained_one_by_one() -> None:
    """Where an epoch is one batch, and nothing is dropped, there is no chance in it."""
    x, y = clouds(16)
    fold = np.array([folds.ALWAYS] + [*range(5)] * 3)
    made = head(dropped=0)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    found = cross_validation.out_of_fold(made, x, y, fold, TRAINING, quiet)
    assert all((tensor == before[name]).all() for name, tensor in made.state_dict().items())
    rest, held = torch.from_numpy(fold != 3), torch.from_numpy(fold == 3)
    history = heads.fit(made, (x[rest], y[rest]), (x[held], y[held]), TRAINING, quiet)
    with torch.inference_mode():
        alone = made.eval()(x[held])
    assert torch.allclose(alone, torch.from_numpy(found.logits(x)[held]).float(), atol=1e-4)
    assert np.isnan(found.logits(x)[:1]).all() and not np.isnan(found.logits(x)[1:]).any()
    assert found.history[-1].error_rate == found.error(x, y)
    losses = [one.valid_loss for one in found.history]
    assert losses != [one.valid_loss for one in history], "a mean over the folds"
    assert losses[0] > losses[-1] and found.history[0].train_loss > found.history[-1].train_loss
    taught, alone = head(dropped=0), head(dropped=0)
    taught.load_state_dict(found.of_all)
    heads.fit(alone, (x, y), None, TRAINING, quiet)
    for name, tensor in alone.state_dict().items():
        assert torch.allclose(tensor, taught.state_dict()[name], atol=1e-4), f"of all pictures: {name}"


def test_a_head_learns_from_some_as_from_a_copy_of_them() -> None:
    (x, y), some = clouds(16), [*range(1, 16, 2)]
    one, other = head(), head()
    other.load_state_dict(one.state_dict())
    heads.fit(one, (x, y), None, TRAINING, quiet, among=some)
    heads.fit(other, (x[some], y[some]), None, TRAINING, quiet)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_an_epoch_over_thousands_takes_few_steps() -> None:
    sizes = [heads.batch_size(pictures) for pictures in (10, 64, 300, 1000, 3000, 9000, 100_000)]
    assert sizes == [10, 16, 37, 64, 150, 450, 512]
    rates = [heads.learning_rate(size) for size in (16, 64, 256)]
    assert rates == [heads.LEARNING_RATE, heads.LEARNING_RATE, 2 * heads.LEARNING_RATE]


def test_as_much_is_dropped_as_by_a_head_alone() -> None:
    torch.manual_seed(0)
    for dropped in (0, 0.25, 0.5):
        kept = cross_validation.SideBySide(head(dropped), 2).kept(torch.Size([300, 333]))
        assert {*kept.unique().tolist()} <= {0, torch.tensor(1 / (1 - dropped)).item()}
        assert kept.mean().item() == pytest.approx(1, abs=0.02)


def test_a_head_of_which_no_picture_is_in_a_batch_stays_as_it_is() -> None:
    x, y = clouds(4)
    side_by_side = cross_validation.SideBySide(head(), 2)
    labels = torch.stack([y, torch.full_like(y, cross_validation.HELD)])
    cross_validation.loss_of_all(side_by_side(x.flatten(1), labels), labels).backward()
    assert side_by_side.weight.grad is not None
    assert side_by_side.weight.grad[0].abs().sum() > 0 and not side_by_side.weight.grad[1].any()
    mean = side_by_side.state_of(head(), 1)["2.running_mean"]
    assert not mean.any() and side_by_side.norm.running_mean.abs().sum() > 0


def test_further_views_teach_and_do_not_judge() -> None:
    x, y = clouds()
    fold = folds.divide(y.numpy(), [str(n) for n in range(40)], 0)
    plain = cross_validation.out_of_fold(head(), x, y, fold, TRAINING, quiet)
    both = torch.cat([x, x.flip(1)])
    views = cross_validation.out_of_fold(head(), both, y, fold, TRAINING, quiet)
    assert (views.weight != plain.weight).any() and views.logits(both).shape == (40, 2)
    both[40:][fold == 1] = 7
    again = cross_validation.out_of_fold(head(), both, y, fold, TRAINING, quiet)
    assert (again.weight[1] == views.weight[1]).all() and (again.weight[2] != views.weight[2]).any()


def test_a_head_learns_without_pictures_to_watch() -> None:
    x, y = clouds()
    told: list[str] = []
    history = heads.fit(head(), (x, y), None, TRAINING, lambda _, words: told.append(words))
    assert len(history) == 3 and np.isnan(history[-1].valid_loss)
    assert told[-1].startswith("epoch 3 of 3: train loss ") and "valid" not in told[-1]


@pytest.mark.parametrize("each", [2, 3])
def test_very_few_pictures(each: int) -> None:
    x, y = clouds(2 * each)
    fold = folds.divide(y.numpy(), [str(n) for n in range(2 * each)], 0)
    found = cross_validation.out_of_fold(head(), x, y, fold, replace(TRAINING, epochs=1), quiet)
    assert found.judged.all()


def test_little_arithmetic_is_done_on_one_thread_and_what_comes_after_on_as_many_as_before(
    request: pytest.FixtureRequest,
) -> None:
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))

    def threads() -> set[int]:
        of_numpy = (pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return {torch.get_num_threads(), *of_numpy}

    with threadpool_limits(2, "blas"):
        torch.set_num_threads(2)
        with linear_head.on_one_thread():
            assert threads() == {1}
        assert threads() == {2}
