"""What a model says is found from what its body saw before, and is what its file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from greenr_luigi.dataset import pixels
from greenr_luigi.export import assembly
from greenr_luigi.export.answers import answers
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.inference import open_session
from tests import tiny_body, tiny_release
from tests.training.test_embedding import files, named, opened

__all__ = ["files", "opened"]
CARD = ModelCard(format=1, classes=["a", "b"], image_size=tiny_body.SIZE, threshold=0.6, door=2)
CENTERS = np.eye(2, tiny_body.FEATURES, dtype=np.float32)


def model(seed: int, factor: float = 1.0) -> bytes:
    chance = np.random.default_rng(seed)
    weight, bias = chance.normal(size=(2, tiny_body.FEATURES)), chance.normal(size=2)
    head = weight.astype(np.float32), bias.astype(np.float32)
    return assembly.assembled(assembly.Parts(tiny_body.body(factor), *head, 0.7 + seed, CENTERS))


def asked(data: bytes, paths: list[Path], root: Path | None) -> tuple[np.ndarray, np.ndarray]:
    file = paths[0].parent / "model.onnx"
    file.write_bytes(data)
    return answers(file, CARD, paths, root)


def run(data: bytes, paths: list[Path]) -> list[np.ndarray]:
    squares = np.stack([pixels.read_pixels(path, tiny_body.SIZE, 2) for path in paths])
    return open_session(data).run(["probabilities", "familiarity"], {"pixels": squares})


@pytest.mark.parametrize("seed", range(3))
def test_a_model_is_taken_apart_into_what_it_was_put_together_from(seed):
    data = model(seed)
    parts = assembly.taken_apart(data)
    assert parts and parts.body == tiny_body.body() and np.array_equal(parts.centers, CENTERS)
    assert parts.temperature == pytest.approx(0.7 + seed)
    assert assembly.assembled(parts) == data


def test_what_is_not_put_together_so_is_not_taken_apart():
    edited = onnx.load_from_string(model(0))
    edited.graph.node[-1].name += " edited"
    for data in (tiny_body.body(), edited.SerializeToString(deterministic=True), tiny_release.model()):
        assert assembly.taken_apart(data) is None


def test_another_head_opens_no_picture(tmp_path, files, opened):
    root = tmp_path / "root"
    asked(model(0), files, root)
    assert sorted(opened) == files
    for seed in (0, 1, 2):
        opened.clear()
        said = asked(model(seed), files, root)
        assert opened == []
        for ours, theirs in zip(said, run(model(seed), files), strict=True):
            assert ours.shape == theirs.shape and np.allclose(ours, theirs, atol=1e-6)
    opened.clear()
    asked(model(0, factor=2.0), files, root)
    assert sorted(opened) == files


def test_a_file_of_another_make_is_run_as_it_is_and_its_answers_are_kept(tmp_path, files, opened):
    edited = onnx.load_from_string(model(0))
    edited.graph.node[-1].name += " edited"
    data = edited.SerializeToString()
    first, again = asked(data, files, tmp_path / "root"), asked(data, files, tmp_path / "root")
    assert sorted(opened) == files
    for one, other, theirs in zip(first, again, run(data, files), strict=True):
        assert np.array_equal(one, other) and np.allclose(one, theirs, atol=1e-6)


def test_a_release_that_knows_no_familiarity_is_asked_all_the_same(files):
    edited = onnx.load_from_string(model(0))
    del edited.graph.output[2]
    probabilities, familiarity = asked(edited.SerializeToString(), files, None)
    assert probabilities.shape == (20, 2) and (familiarity == -1).all()


def test_a_new_picture_alone_is_opened(tmp_path, files, opened):
    asked(model(0), files, tmp_path / "root")
    opened.clear()
    new = named(tmp_path, 99)
    asked(model(1), [*files, new], tmp_path / "root")
    assert opened == [new]
