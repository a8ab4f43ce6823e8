import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from greenr_luigi.dataset.pixels import DataSetError
from greenr_luigi.dataset.rows import SplitRow
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures import door, manifest
from greenr_luigi.training import architectures, finetuning, folds, recipes, train
from greenr_luigi.training.saved_model import Training
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow

HOW = train.Hyperparameters("tf_efficientnet_lite0", epochs=6, seed=3, image_size=walk.SIZE)


def trained(dataset: Path, out: Path, on_progress=quiet, **how: object) -> Training:
    return train.train(dataset, out, replace(HOW, **how), on_progress=on_progress)


def without(dataset: Path, copy: Path, drop) -> Path:
    """A copy of a data set whose manifest lacks the rows for which `drop` holds; their files are gone too."""
    shutil.copytree(dataset, copy, dirs_exist_ok=True)
    rows = manifest.read_csv(copy / "manifest.csv", SplitRow)
    for row in filter(drop, rows):
        (copy / row.file).unlink()
    manifest.write_csv(copy / "manifest.csv", [row for row in rows if not drop(row)], SplitRow)
    return copy


def test_writes_what_the_contract_says_and_learns():
    model = walk.walk().model
    assert sorted(p.name for p in model.iterdir()) == [
        "folds.safetensors",
        "model.safetensors",
        "training.json",
    ]
    info = json.loads((model / "training.json").read_text())
    assert info["classes"] == ["disc", "three"]
    assert info["image_size"] == walk.SIZE
    assert info["resize"] == "squish-bilinear"
    assert info["mean"] == info["std"] == [0.5, 0.5, 0.5]
    assert info["weights"]["license"] == "Apache-2.0"
    assert len(info["history"]) == info["epochs"] == 6
    assert set(info["history"][0]) == {"train_loss", "valid_loss", "error_rate"}
    assert info["history"][-1]["train_loss"] < info["history"][0]["train_loss"]


def test_same_seed_same_bytes_and_the_test_side_is_never_opened(tmp_path):
    """The second training's data set has no test pictures at all, nor their rows."""
    first = walk.walk()
    dataset = without(first.dataset, tmp_path / "dataset", lambda row: row.side == "test")
    again = tmp_path / "again"
    again.mkdir()
    trained(dataset, again)
    for name in ("folds.safetensors", "model.safetensors", "training.json"):
        assert (again / name).read_bytes() == (first.model / name).read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    trained(dataset, other, seed=4)
    assert (other / "model.safetensors").read_bytes() != (first.model / "model.safetensors").read_bytes()


def test_the_body_stays_as_it_was():
    """Cached features are only right if training leaves the body alone, BatchNorm's statistics included."""
    fresh = architectures.learner(
        architectures.find(architectures.DEFAULT), ["a", "b"], walk.SIZE, pretrained=True
    )
    trained = load_file(walk.walk().model / "model.safetensors")
    body = {name: tensor for name, tensor in fresh.model.state_dict().items() if name.startswith("0.")}
    assert body and all(torch.equal(tensor, trained[name]) for name, tensor in body.items())


def test_a_class_missing_among_the_validation_pictures_is_no_obstacle(tmp_path):
    dataset = without(
        walk.walk().dataset, tmp_path / "d", lambda row: row.side == "valid" and row.label == "disc"
    )
    (tmp_path / "m").mkdir()
    trained(dataset, tmp_path / "m")
    assert architectures.load_model(tmp_path / "m")[1].classes == ["disc", "three"]


@pytest.mark.parametrize(
    ("drop", "says"),
    [
        (lambda row: row.side == "train", "'train', expected at least one"),
        (lambda row: row.side == "valid", "'valid', expected at least one"),
        (lambda row: row.label == "disc", r"classes are \['three'\], expected at least two"),
        (
            lambda row: row.label == "disc" and row.side == "train",
            r"classes are \['three'\], expected at least two",
        ),
    ],
)
def test_a_data_set_that_nothing_can_be_fine_tuned_on_is_refused_at_once(tmp_path, drop, says):
    dataset = without(walk.walk().dataset, tmp_path / "d", drop)
    with pytest.raises(DataSetError, match=says):
        trained(dataset, tmp_path, recipe="finetune")


def test_a_data_set_that_nothing_can_be_learned_from_is_refused_at_once(tmp_path):
    dataset = without(walk.walk().dataset, tmp_path / "none", lambda row: row.side != "test")
    with pytest.raises(DataSetError, match=r"classes are \[\], expected at least two"):
        trained(dataset, tmp_path)
    rows = manifest.read_csv(walk.walk().dataset / "manifest.csv", SplitRow)
    together = [replace(row, group=row.label) for row in rows]
    dataset = without(walk.walk().dataset, tmp_path / "groups", lambda row: False)
    manifest.write_csv(dataset / "manifest.csv", together, SplitRow)
    with pytest.raises(DataSetError, match="each class is one group, so that none can be judged"):
        trained(dataset, tmp_path)


@pytest.mark.parametrize("side", ["train", "valid"])
def test_a_side_that_is_empty_is_no_obstacle_and_both_teach(tmp_path, side):
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: row.side == side)
    (tmp_path / "m").mkdir()
    trained(dataset, tmp_path / "m")
    judged = folds.load(tmp_path / "m")
    assert judged.judged.all() and len(judged.fold) == (6 if side == "train" else 12)
    assert len(folds.load(walk.walk().model).fold) == 18
    other, first = (load_file(folder / "model.safetensors") for folder in (tmp_path / "m", walk.walk().model))
    assert any(not torch.equal(other[name], first[name]) for name in first if name.startswith("1."))


def test_so_many_folds_are_told_as_there_are(tmp_path):
    """Two groups, each of both classes, make no more than two."""
    rows = manifest.read_csv(walk.walk().dataset / "manifest.csv", SplitRow)
    halves = [replace(row, group=f"half {n % 2}") for n, row in enumerate(rows)]
    dataset = without(walk.walk().dataset, tmp_path / "d", lambda row: False)
    manifest.write_csv(dataset / "manifest.csv", halves, SplitRow)
    told: list[str] = []
    trained(dataset, tmp_path, lambda fraction, words: told.append(words), epochs=1)
    assert told[0] == "18 pictures of 2 classes, in 2 folds"
    assert any("cross-validation, 2 heads, epoch 1 of 1: train loss" in words for words in told)


def test_a_class_of_one_picture_is_named(tmp_path):
    dataset = walk.drawn(tmp_path / "all", ("disc", "three", "one"), each=4)
    keep = next(
        row.file
        for row in manifest.read_csv(dataset / "manifest.csv", SplitRow)
        if row.label == "one" and row.side == "train"
    )
    dataset = without(dataset, tmp_path / "less", lambda row: row.label == "one" and row.file != keep)
    with pytest.raises(DataSetError, match=r"'one' \([01]\); expected at least 2 a class"):
        trained(dataset, tmp_path)


def test_a_picture_that_has_rotted_is_named(tmp_path):
    shutil.copytree(walk.walk().dataset, tmp_path / "d")
    victim = next((tmp_path / "d" / "train" / "disc").iterdir())
    victim.write_bytes(victim.read_bytes()[:300])
    with pytest.raises(door.UnusablePicture, match=victim.name):
        trained(tmp_path / "d", tmp_path)


def test_progress_goes_from_nothing_to_all(tmp_path):
    told: list[tuple[float, str]] = []
    trained(walk.walk().dataset, tmp_path, lambda f, words: told.append((f, words)))
    fractions = [fraction for fraction, _ in told]
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(fractions)
    assert "of the pictures are wrong in cross-validation" in told[-1][1]
    last = json.loads((tmp_path / "training.json").read_text())["history"][-1]["train_loss"]
    loss = f"cross-validation, 5 heads, epoch 6 of 6: train loss {last:.3f}"
    assert any(words.endswith(loss) for _, words in told), told


@pytest.mark.parametrize("recipe", ["views", "finetune"])
def test_other_recipes_give_the_same_kind_of_model(tmp_path, recipe):
    told: list[float] = []
    trained(walk.walk().dataset, tmp_path, lambda f, words: told.append(f), recipe=recipe)
    _, training = architectures.load_model(tmp_path)
    assert training.recipe == recipe and training.recipe_words == recipes.RECIPES[recipe].words
    assert told == sorted(told) and told[-1] == 1
    assert (folds.load(tmp_path) is None) == (recipe == "finetune")
    most = finetuning.EPOCHS if recipe == "finetune" else 0
    assert min(6 + most, 7) <= len(training.history) <= 6 + most
    body = load_file(tmp_path / "model.safetensors")["0.model.conv_head.weight"]
    before = load_file(walk.walk().model / "model.safetensors")["0.model.conv_head.weight"]
    assert torch.equal(body, before) == (recipe == "views")


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(GreenrError, match=r"recipe is 'heads'; did you mean head\?"):
        trained(walk.walk().dataset, tmp_path, recipe="heads")
