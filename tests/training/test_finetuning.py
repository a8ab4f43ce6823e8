"""The recipe `finetune`: what it trains, for how long, and from which pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from greenr_luigi.dataset.pixels import read_pixels
from greenr_luigi.dataset.rows import class_numbers, read_labels
from greenr_luigi.training import architectures, features, finetuning, heads, splitting
from greenr_luigi.training.callbacks import TimeLimit
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch, Training
from tests import walk
from tests.training.test_train import trained

pytestmark = pytest.mark.slow


def test_it_ends_when_its_time_is_over_and_says_so(tmp_path):
    told: list[str] = []
    tell = lambda fraction, words: told.append(words)  # noqa: E731
    training = trained(walk.walk().dataset, tmp_path, tell, recipe="finetune", minutes=1e-9)
    assert len(training.history) == 6 + 1 and training.history[-1].train_loss > 0
    # In the last words, which alone reach a person for sure: of others no more than one a second does.
    assert told[-1].endswith(
        "wrong; stopped in epoch 1 of 1: its 1e-09 minutes are over; best after epoch 1 of 1"
    )


def test_its_head_learns_from_features_where_they_lie(tmp_path, monkeypatch):
    """Of 100,000 pictures a copy would take half a gigabyte of memory."""
    fit, seen = heads.fit, list[torch.Tensor]()
    look = lambda head, train, *given, **more: seen.append(train[0]) or fit(head, train, *given, **more)  # noqa: E731
    monkeypatch.setattr(heads, "fit", look)
    trained(walk.walk().dataset, tmp_path, recipe="finetune", minutes=1e-9)
    (of_train,) = seen
    assert len(of_train) == 12 and of_train.untyped_storage().nbytes() > of_train.nbytes


def test_how_much_there_is_time_for_is_reckoned_not_measured():
    learn, _ = architectures.load_model(walk.walk().model)
    plan = partial(finetuning.plan, *splitting.split(learn.model[0], 224))
    most = finetuning.VIEWS, finetuning.EPOCHS
    assert plan(1500, 224, 15) == finetuning.Plan(1500 * most[0], most[1])
    few, more = plan(1500, 224, 1), plan(1500, 224, 5)
    assert few.views < more.views and few.epochs < more.epochs <= most[1]
    # Not all are looked at, if there is no time to learn from them.
    assert plan(1_000_000, 224, 15).views < 1_000_000 and plan(1_000_000, 224, 15).epochs == 1
    assert plan(1, 224, 1e308) == finetuning.Plan(*most)
    assert plan(1500, 224, 5, times=2).epochs == more.epochs // 2


class Learning:
    """Follows a training: the weights before and after each time that the network learns, and of how many pictures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, minutes_of_second: float = 15) -> None:
        self.began: list[torch.Tensor] = []
        self.ended: list[torch.Tensor] = []
        self.pictures: list[int] = []
        self.rows: list[list[Epoch]] = []
        fit = heads.fit_one_cycle

        def follow(learn: Any, *given: Any, **more: Any) -> list[Epoch]:
            if limits := [each for each in learn.cbs if isinstance(each, TimeLimit)]:
                self.began.append(weights(learn.model))
                self.pictures.append(learn.dls.train.n)
                if len(self.began) == 2:
                    limits[0].deadline += 60 * (minutes_of_second - 15)
            rows = fit(learn, *given, **more)
            if limits:
                self.ended.append(weights(learn.model))
                self.rows.append(rows)
            return rows

        monkeypatch.setattr(heads, "fit_one_cycle", follow)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def upper(folder: Path) -> torch.Tensor:
    """The weights of a saved model that `finetune` trains."""
    learn, training = architectures.load_model(folder)
    return weights(
        torch.nn.Sequential(splitting.split(learn.model[0], training.image_size)[1], learn.model[1])
    )


@dataclass
class Tuned:
    folder: Path
    training: Training
    learning: Learning
    told: list[str]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder, told = tmp_path_factory.mktemp("tuned"), list[str]()
    with pytest.MonkeyPatch.context() as monkeypatch:
        learning = Learning(monkeypatch)
        tell = lambda fraction, words: told.append(words)  # noqa: E731
        training = trained(walk.walk().dataset, folder, tell, recipe="finetune")
    return Tuned(folder, training, learning, told)


def test_it_is_repeatable(tmp_path, tuned):
    assert trained(walk.walk().dataset, tmp_path, recipe="finetune") == tuned.training
    one, other = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path, tuned.folder))
    assert one == other


def test_it_leaves_the_lower_part_and_all_statistics_as_they_were(tuned):
    before, after = (load_file(path / "model.safetensors") for path in (walk.walk().model, tuned.folder))
    changed = {name for name in after if name.startswith("0.") and not torch.equal(before[name], after[name])}
    assert changed and all(
        name.startswith(("0.model.blocks.5", "0.model.blocks.6", "0.model.conv_head", "0.model.bn2"))
        for name in changed
    )
    assert not [name for name in changed if "running" in name]


def test_it_learns_again_from_all_pictures_and_takes_the_mean(tuned):
    learning, history = tuned.learning, tuned.training.history
    assert torch.equal(*learning.began) and not torch.equal(*learning.ended)
    assert learning.pictures[0] < learning.pictures[1] == 12
    assert torch.allclose(upper(tuned.folder), (learning.ended[0] + learning.ended[1]) / 2, atol=1e-6)
    assert "; learned as long from all 12 pictures, and took the mean of both" in tuned.told[-1]
    epochs = len(learning.rows[1])
    assert history[6 : 6 + epochs] == learning.rows[0][:epochs]
    assert history[6 + epochs : -1] == learning.rows[1][:-1] and len(history) == 6 + 2 * epochs


def test_the_last_row_tells_of_what_stays(tuned):
    last = tuned.training.history[-1]
    learn, training = architectures.load_model(tuned.folder)
    rows = read_labels(walk.walk().dataset, "valid")
    pixels = np.stack([read_pixels(walk.walk().dataset / row.file, walk.SIZE) for row in rows])
    with torch.inference_mode():
        said = learn.model.eval()(features.normalized(pixels, training.mean, training.std))
    y = torch.tensor(class_numbers(rows, training.classes))
    loss = fv.LabelSmoothingCrossEntropyFlat(finetuning.SMOOTHING)(said, y)
    assert last.valid_loss == pytest.approx(float(loss), rel=0.01)
    assert last.error_rate == float((said.argmax(1) != y).float().mean())


def test_with_less_time_it_learns_once(tmp_path, monkeypatch):
    learn, _ = architectures.load_model(walk.walk().model)
    parts = splitting.split(learn.model[0], walk.SIZE)
    looking, epoch = finetuning.minutes_of(*parts, 12, walk.SIZE)
    learning = Learning(monkeypatch)
    # None is said by the clock, which on a busy machine would come to an end: it is reckoned for.
    monkeypatch.setattr(finetuning, "TimeLimit", lambda deadline: TimeLimit(deadline + 900))
    minutes = looking + 1.9 * finetuning.EPOCHS * epoch
    trained(walk.walk().dataset, tmp_path, recipe="finetune", minutes=minutes)
    assert len(learning.began) == 1 and torch.equal(upper(tmp_path), learning.ended[0])


def test_where_time_is_over_meanwhile_what_it_learned_first_stays(tmp_path, monkeypatch):
    learning, told = Learning(monkeypatch, minutes_of_second=-15), list[str]()
    training = trained(walk.walk().dataset, tmp_path, lambda f, words: told.append(words), recipe="finetune")
    assert len(learning.began) == 2 and torch.equal(upper(tmp_path), learning.ended[0])
    assert told[-1].endswith("; there was no time to learn as long from all pictures")
    assert training.history[-1] in learning.rows[0]
