"""Features that are kept are those that would be computed, and no picture passes the same body twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from greenr_luigi import inference, kept
from greenr_luigi.dataset import pixels
from greenr_luigi.training import architectures, body_onnx, features, recipes
from greenr_luigi.training.saved_model import Training
from tests import walk
from tests.progress import quiet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def body() -> tuple[Any, Training]:
    architecture = architectures.find(architectures.DEFAULT)
    learn = architectures.learner(architecture, ["a", "b"], walk.SIZE, pretrained=True)
    return learn, walk.settings(architecture, walk.SIZE)


@pytest.fixture(scope="module")
def bodies(body: tuple[Any, Training], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The body as ONNX, which takes seconds to make."""
    root = tmp_path_factory.mktemp("bodies")
    learn, training = body
    body_onnx.kept(root, learn.model[0], training)
    return root / "bodies"


@pytest.fixture
def root(bodies: Path, tmp_path: Path) -> Path:
    """A data root that has the body."""
    shutil.copytree(bodies, tmp_path / "root" / "bodies")
    return tmp_path / "root"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that were opened since it was cleared."""
    opened: list[Path] = []
    read_batches = pixels.read_batches

    def noting(paths: Sequence[Path], *options: Any, **more: Any) -> Iterator[pixels.Pixels]:
        opened.extend(paths)
        return read_batches(paths, *options, **more)

    monkeypatch.setattr(pixels, "read_batches", noting)
    return opened


def pictures(*sides: str) -> list[Path]:
    return [walk.walk().dataset / row.file for row in pixels.read_rows(walk.walk().dataset, *sides)]


def test_what_is_kept_is_what_would_be_computed(body, read, root):
    """Whatever others were computed with it: not a bit differs."""
    learn, training = body
    shutil.copytree(root, root.with_name("alone"))
    paths = pictures("train", "test")
    alone = features.pooled(learn, paths, training, quiet, root=root.with_name("alone"))
    read.clear()
    first = features.pooled(learn, paths[::3], training, quiet, root=root)
    assert read == paths[::3]
    read.clear()
    told: list[tuple[float, str]] = []
    mixed = features.pooled(learn, paths, training, lambda *said: told.append(said), root=root)
    assert read == [path for path in paths if path not in paths[::3]]
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told) and told[-1][0] == 1
    read.clear()
    kept = features.pooled(learn, paths[::-1], training, quiet, root=root)
    assert read == []
    assert torch.equal(first, alone[::3]) and torch.equal(mixed, alone) and torch.equal(kept.flip(0), alone)


def test_other_bodies_sizes_and_views_have_features_of_their_own(body, read, root):
    learn, training = body
    paths = pictures("test")
    features.pooled(learn, paths, training, quiet, root=root)
    other = architectures.learner(architectures.find(training.arch), ["a", "b"], walk.SIZE, pretrained=False)
    smaller = walk.settings(architectures.find(training.arch), 32)
    for learner, settings, view in (
        (learn, training, 1),
        (learn, smaller, 0),
        (other, training, 0),
    ):
        for expected in (paths, []):
            read.clear()
            features.pooled(learner, paths, settings, quiet, view, root=root)
            assert read == expected
    assert len([*root.glob("features/*.sqlite")]) == 4 and len([*root.glob("bodies/*")]) == 3


def test_of_several_views_each_is_kept_and_all_lie_in_one_array_on_the_disk(body, read, root):
    learn, training = body
    sides = [(paths, torch.zeros(len(paths))) for paths in (pictures("train"), pictures("valid"))]
    given = recipes.Ingredients(learn, *sides, training, np.zeros(0), root)
    cold = recipes.features_of_all(given, quiet, (0, 1))
    in_turn = [
        features.pooled(learn, sides[0][0] + sides[1][0], training, quiet, view, root) for view in (0, 1)
    ]
    assert torch.equal(cold, torch.cat(in_turn)) and not torch.equal(*in_turn)
    within = [mapping.split("-") for mapping in mapped(root / "features")]
    assert any(int(start, 16) <= cold.data_ptr() < int(end, 16) for start, end in within)
    read.clear()
    assert torch.equal(recipes.features_of_all(given, quiet, (0, 1)), cold) and read == []


def mapped(folder: Path) -> list[str]:
    """Where in memory files of a folder are."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[0] for line in lines if f" {folder}/" in line]


def test_nothing_is_kept_of_files_that_are_not_named_by_their_content(body, read, root):
    learn, training = body
    (root / "a.jpg").write_bytes(pictures("test")[0].read_bytes())
    for _ in range(2):
        read.clear()
        found = features.pooled(learn, [root / "a.jpg"], training, quiet, root=root)
        assert read == [root / "a.jpg"]
    assert torch.equal(found, features.pooled(learn, pictures("test")[:1], training, quiet, root=root))


def test_a_run_that_breaks_off_keeps_what_it_has_seen(body, read, root, monkeypatch):
    learn, training = body
    monkeypatch.setattr(kept, "AT_ONCE", 8)
    paths = pictures("train", "test")

    def broken_off(fraction: float, words: str) -> None:
        if fraction >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.pooled(learn, paths, training, broken_off, root=root)
    read.clear()
    again = features.pooled(learn, paths, training, quiet, root=root)
    assert 0 < len(read) < 0.8 * len(paths)
    shutil.copytree(root / "bodies", root.with_name("alone") / "bodies")
    assert torch.equal(again, features.pooled(learn, paths, training, quiet, root=root.with_name("alone")))


@pytest.mark.parametrize("view", [0, 1])
def test_onnx_runtime_and_torch_see_the_same(body, view, root):
    learn, training = body
    ours, theirs = (
        features.pooled(learn, pictures("test"), training, quiet, view, root) for root in (root, None)
    )
    assert ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-4)


def test_a_body_is_turned_into_onnx_once_and_anew_where_its_file_is_damaged(body, root, monkeypatch):
    learn, training = body
    made = body_onnx.kept(root, learn.model[0], training)
    (path,) = (root / "bodies").iterdir()
    assert path.read_bytes() == made and kept.BODY.fullmatch(path.name)
    with monkeypatch.context() as patch:
        patch.setattr(body_onnx, "written", lambda *_: pytest.fail("made again"))
        assert body_onnx.kept(root, learn.model[0], training) == made
    path.write_bytes(made[:-1])
    assert body_onnx.kept(root, learn.model[0], training) == made == path.read_bytes()


def test_where_all_features_are_kept_the_body_is_not_loaded(body, root, monkeypatch):
    learn, training = body
    before = features.pooled(learn, pictures("test"), training, quiet, root=root)
    monkeypatch.setattr(inference, "open_session", lambda *_, **how: pytest.fail("it is loaded"))
    assert torch.equal(features.pooled(learn, pictures("test"), training, quiet, root=root), before)


def test_a_process_that_gets_no_picture_has_no_features(body, root):
    """Of few pictures, many processes get none."""
    learn, training = body
    assert features.pooled(learn, [], training, quiet, root=root).shape == (0, 1280, 1, 1)


def test_a_body_that_was_turned_into_onnx_goes_on_as_it_was(root):
    """What finetunes takes it then; and wherever its values lie, the file is the same."""
    architecture = architectures.find("resnet18")
    body = architectures.learner(architecture, ["a", "b"], 32, pretrained=False).model[0]
    training, before = walk.settings(architecture, 32), repr(body)
    made = body_onnx.written(body.train(), training)
    assert repr(body) == before and all(module.training for module in body.modules())
    assert body_onnx.written(body.to(memory_format=torch.channels_last), training) == made
