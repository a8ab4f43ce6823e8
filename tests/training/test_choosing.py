"""The recipe `auto`: what it tries, what it takes, and that it then trains as the recipe that it takes does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenr_luigi.dataset.rows import SplitRow
from greenr_luigi.intervals import wilson
from greenr_luigi.pictures import manifest
from greenr_luigi.training import choosing, launch, recipes
from greenr_luigi.training.saved_model import Training
from tests import walk
from tests.progress import quiet
from tests.training import test_train
from tests.training.test_train import HOW, without

pytestmark = pytest.mark.slow

PICTURES = 18
#: Of the walk's pictures that are not for testing, 12 and then 6.
ALL = np.ones(PICTURES, bool)


def naming(*wrong: int) -> choosing.folds.Bools:
    return np.isin(np.arange(PICTURES), wrong)


def trained(folder: Path, dataset: Path | None = None, on_progress=quiet, **how: object) -> Training:
    folder.mkdir(exist_ok=True)
    return test_train.trained(dataset or walk.walk().dataset, folder, on_progress, **how)


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        ((), (), []),
        ((0,), (), ["views"]),  # One fewer, and one is a standard error.
        ((0, 1), (), ["views", "finetune"]),
        ((0, 1, 2, 3), (4, 5), ["views"]),
        ((0, 1, 2, 3, 4), (4, 5), ["views", "finetune"]),
        ((0, 1), (2, 3), []),
        ((), (0, 1, 2), []),
    ],
)
@pytest.mark.parametrize("name", ["views", "finetune"])
def test_the_dearer_must_be_better_and_finetune_by_a_standard_error(before, after, taken, name):
    better, choice = name in taken, choosing.Choice("head", naming(*before), allowed=1)
    assert choice.judge(name, naming(*after), ALL, 0.5) == better
    assert choice.name == (name if better else "head")
    assert choice.wrong.tolist() == naming(*(after if better else before)).tolist()
    [told] = choice.tried
    assert (told.recipe, told.pictures, told.minutes) == (name, PICTURES, 0.5)
    assert told.error == len(after) / PICTURES and told.error_interval == wilson(len(after), PICTURES)


def test_only_those_count_that_judge():
    choice = choosing.Choice("views", naming(0, 1, 2), allowed=1)
    assert not choice.judge("finetune", naming(9), np.arange(PICTURES) >= 6, 0.5)
    assert choice.tried[0].pictures == 12 and choice.tried[0].error == 1 / 12


def test_time_is_spent_once_and_what_it_would_take_is_told():
    choice = choosing.Choice("head", naming(), allowed=5)
    assert choice.has_time("views", 2) and not choice.has_time("finetune", 3.1)
    assert choice.tried[0].words == "not tried: --minutes 6 would allow it"
    assert choice.tried[0].minutes == 3.1 and choice.tried[0].error is None
    assert choice.has_time("finetune", 3)


def test_few_mistakes_have_nothing_else_tried_and_the_head_is_that_of_the_recipe_head(tmp_path, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it costs time")

    for name in ("minutes_of_views", "minutes_of_finetuning"):
        monkeypatch.setattr(choosing, name, never)
    training = trained(tmp_path, recipe="auto")
    assert (training.recipe, training.recipe_words) == ("head", recipes.RECIPES["head"].words)
    assert [one.recipe for one in training.tried] == ["head", "views", "finetune"]
    assert [one.error is None for one in training.tried] == [False, True, True]
    assert training.tried[1].words.startswith("not tried: of 18 pictures ")
    assert json.loads((tmp_path / "training.json").read_text())["tried"][0]["words"] == "the cheapest"
    for name in ("model.safetensors", "folds.safetensors"):
        assert (tmp_path / name).read_bytes() == (walk.walk().model / name).read_bytes()


@pytest.fixture
def tries_all(monkeypatch):
    monkeypatch.setattr(choosing, "LEAST_WRONG", {"views": 0, "finetune": 0})


@pytest.mark.parametrize("chosen", ["head", "views", "finetune"])
def test_it_trains_as_the_recipe_does_that_it_takes(tmp_path, monkeypatch, tries_all, chosen):
    """By what each is said to name wrongly."""
    wrong = iter([naming(0, 1, 12, 13, 14), naming(12, 13) if chosen != "head" else naming(*range(8))])
    monkeypatch.setattr(choosing, "wrong_by", lambda *_: next(wrong))
    in_valid = naming()[12:] if chosen == "finetune" else ~naming()[12:]
    monkeypatch.setattr(choosing, "wrong_by_network", lambda *_: in_valid)
    told: list[float] = []
    minutes = {"minutes": 900.0}
    training = trained(
        tmp_path / "auto", recipe="auto", **minutes, on_progress=lambda fraction, words: told.append(fraction)
    )
    assert training.recipe == chosen and len(training.tried) == 3
    assert all(one.error is not None for one in training.tried)
    assert [one.minutes > 0 for one in training.tried] == [False, True, True]
    assert told == sorted(told) and told[-1] == 1
    alone = trained(tmp_path / "alone", recipe=chosen, **minutes)
    assert replace(training, tried=[]) == alone
    assert model(tmp_path / "auto") == model(tmp_path / "alone")
    kept = {path.name for path in (tmp_path / "auto").iterdir()}
    assert kept == {path.name for path in (tmp_path / "alone").iterdir()}


def test_all_are_judged_by_what_they_have_not_learned_from_and_the_choice_is_repeatable(tmp_path, tries_all):
    one, other = (trained(tmp_path / name, recipe="auto", minutes=900.0) for name in "ab")
    assert one == other and model(tmp_path / "a") == model(tmp_path / "b")
    assert [judged.pictures for judged in one.tried] == [18, 18, 6]
    assert one.tried[0].error == one.history[-1].error_rate or one.recipe != "head"


def test_no_time_means_the_head(tmp_path, tries_all):
    training = trained(tmp_path, recipe="auto", minutes=1e-6)
    assert training.recipe == "head"
    assert [one.words for one in training.tried[1:]] == ["not tried: --minutes 1 would allow it"] * 2


@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_side_that_is_empty_leaves_the_network_as_it_is(tmp_path, monkeypatch, side):
    monkeypatch.setattr(choosing, "LEAST_WRONG", {"views": 100, "finetune": 1})
    monkeypatch.setattr(choosing, "wrong_by", lambda judged, x, y: judged.judged)
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == side)
    training = trained(tmp_path / "m", dataset, recipe="auto", minutes=900.0)
    assert training.recipe == "head" and training.tried[-1].error is None
    why = "a class has fewer than 2 training" if side == "train" else "of 0 pictures 0 are wrong"
    assert training.tried[-1].words.startswith(f"not tried: {why}")


def test_a_class_that_never_judges_is_no_obstacle(tmp_path, tries_all):
    """One whose pictures are one group: it only teaches."""
    rows = manifest.read_csv(walk.walk().dataset / "manifest.csv", SplitRow)
    grouped = [replace(row, group="one" if row.label == "disc" else "") for row in rows]
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: False)
    manifest.write_csv(dataset / "manifest.csv", grouped, SplitRow)
    training = trained(tmp_path / "m", dataset, recipe="auto", minutes=900.0)
    assert [judged.pictures for judged in training.tried] == [9, 9, 3]


def test_what_it_takes_is_reckoned_by_the_pictures():
    learn, training = choosing_learner()
    given = {n: recipes.Ingredients(learn, ([], None), ([], None), training, np.zeros(n)) for n in (100, 200)}
    once, twice = (choosing.minutes_of_views(given[n]) for n in (100, 200))
    assert 0 < once == pytest.approx(twice / 2)


def choosing_learner():
    from greenr_luigi.training import architectures

    return architectures.load_model(walk.walk().model)


def test_the_report_and_the_card_have_a_line_for_each(tmp_path):
    from greenr_luigi.evaluation import evaluate

    folder = tmp_path / "m"
    trained(folder, recipe="auto")
    evaluated = tmp_path / "e"
    evaluated.mkdir()
    evaluate.evaluate(walk.walk().dataset, folder, evaluated, on_progress=quiet)
    page = (evaluated / "report.html").read_text()
    assert page.count("<dt>chosen from</dt>") == 1
    assert "<dd>head: 0.0 % wrong of 18 (95 % interval 0.0 % to " in page or "<dd>head: " in page
    assert "<dd>views: not tried: of 18 pictures " in page and "<dd>finetune: not tried: " in page


def test_processes_that_train_together_choose_as_one_does(tmp_path):
    alone = trained(tmp_path / "alone", recipe="auto")
    (tmp_path / "two").mkdir()
    together = launch.train(
        walk.walk().dataset,
        tmp_path / "two",
        replace(HOW, recipe="auto"),
        processes=2,
        torchrun=launch.STANDALONE,
        on_progress=quiet,
    )
    assert (together.recipe, together.tried, together.processes) == ("head", alone.tried, 2)
