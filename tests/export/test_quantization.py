import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from greenr_luigi.dataset.rows import LabelRow, read_labels
from greenr_luigi.evaluation.predictions import read_predictions
from greenr_luigi.export import answers, assembly, quantization
from greenr_luigi.export.model_card import HeldOut, ModelCard, Quantization, read_card
from greenr_luigi.training import body_onnx, folds, linear_head
from greenr_luigi.training.architectures import load_model
from tests import tiny_release, walk

pytestmark = pytest.mark.slow

CARD = ModelCard(format=1, classes=["disc", "three"], image_size=walk.SIZE, threshold=0.6, familiarity=0.1)
TINY = replace(CARD, image_size=tiny_release.SIZE)


@pytest.fixture(scope="module")
def rows():
    return [row for side in ("train", "valid") for row in read_labels(walk.walk().dataset, side)]


@pytest.fixture(scope="module")
def integers():
    """The body of the drawings' model, in integers."""
    return quantization.quantized(floats(), walk.SIZE)


def floats():
    learn, training = load_model(walk.walk().model)
    return body_onnx.written(learn.model[0], training)


def parts(body):
    """Of the drawings' model."""
    learn, _ = load_model(walk.walk().model)
    centers = np.load(walk.walk().evaluation / "centers.npy")
    head = linear_head.folded(learn.model[1])
    return assembly.Parts(body, head.weight, head.bias, read_card(walk.walk().export).temperature, centers)


def judges():
    folders = walk.walk()
    return quantization.judges(folders.model, folders.evaluation, folders.dataset, parts(floats()))


def offered(make):
    return quantization.offered(judges(), make, CARD, walk.walk().dataset)


def quantized_convolutions(file):
    """Names of convolutions that read what was rounded to 8 bits."""
    graph = onnx.load(file).graph
    rounded = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [n.name for n in graph.node if n.op_type == "Conv" and set(n.input) <= rounded]


@pytest.fixture
def few(monkeypatch):
    """The few held-out pictures of the drawings' model shall do."""
    monkeypatch.setattr(quantization, "LEAST_PICTURES", 1)


def test_integers_that_cost_nothing_are_offered_however_far_probabilities_move(few, integers, rows):
    body, said = offered(lambda: integers)
    assert body == integers and said.offered and said.why is None and said.pictures == len(rows) == 18
    assert 0 < said.mean_difference <= said.largest_difference
    assert said.floats.error == said.integers.error == 0 and said.floats.loss != said.integers.loss
    assert said.error_interval[0] < 0 < said.error_interval[1]
    assert len(integers) < len(floats()) / 3


def test_first_layers_and_the_answer_stay_in_float(tmp_path, integers):
    model, place = walk.walk().export / "model.onnx", tmp_path / "model.int8.onnx"
    place.write_bytes(assembly.assembled(parts(integers)))
    names = [node.name for node in onnx.load(model).graph.node if node.op_type == "Conv"]
    assert quantized_convolutions(place) == names[quantization.FLOAT_FIRST : -1]
    assert not quantized_convolutions(model)


def test_integers_are_kept_and_are_the_same_bytes_anew(tmp_path, monkeypatch):
    learn, training = load_model(walk.walk().model)
    body = body_onnx.written(learn.model[0], training)
    first = quantization.kept(tmp_path, body, walk.SIZE)
    assert first == quantization.quantized(body, walk.SIZE)
    monkeypatch.setattr(quantization, "quantized", lambda *_: pytest.fail("made again"))
    assert quantization.kept(tmp_path, body, walk.SIZE) == first
    assert len([*(tmp_path / "bodies").iterdir()]) == 1


def test_integers_that_cost_something_are_not_offered(few, integers, monkeypatch):
    monkeypatch.setattr(quantization, "MORE_LOSS", -1.0)
    body, said = offered(lambda: integers)
    assert body is None and not said.offered and "nats more loss" in said.why and said.integers


def test_each_fold_is_asked_by_its_own_head_and_without_folds_the_side_valid_alone(tmp_path):
    folders = walk.walk()
    judged, by_fold = folds.load(folders.model), judges()
    assert sorted(len(one.rows) for one in by_fold) == sorted(np.bincount(judged.fold).tolist())
    told = {row.file: row for row in read_predictions(folders.evaluation / "out_of_fold.csv").rows}
    probabilities, familiarity = quantization.asked(by_fold, floats(), CARD, folders.dataset)
    rows = [row for one in by_fold for row in one.rows]
    assert {row.file for row in rows} == {*told}
    for row, said, near in zip(rows, probabilities, familiarity, strict=True):
        assert CARD.classes[said.argmax()] == told[row.file].predicted
        assert near == pytest.approx(told[row.file].familiarity, abs=1e-3)
    (alone,) = quantization.judges(tmp_path, folders.evaluation, folders.dataset, parts(b"body"))
    # The test side judges what was chosen, and chooses nothing.
    assert alone.parts.body == b"body" and {row.side for row in alone.rows} == {"valid"}


def test_few_held_out_pictures_prove_nothing(rows):
    """The walk's own export: what it offers, model.json says."""
    folder = walk.walk().export
    assert read_card(folder).int8 == Quantization(False, f"{len(rows)} held-out pictures, fewer than 50")
    assert not (folder / "model.int8.onnx").exists()


def test_what_the_library_logs_sets_nothing_up(tmp_path):
    """logging.basicConfig() in a library would have Luigi's own lines printed twice."""
    learn, training = load_model(walk.walk().model)
    (tmp_path / "body.onnx").write_bytes(body_onnx.written(learn.model[0], training))
    code = (
        "import logging, sys; from pathlib import Path; from greenr_luigi.export import quantization\n"
        f"assert quantization.quantized(Path(sys.argv[1]).read_bytes(), {walk.SIZE})\n"
        "assert not logging.getLogger().handlers\n"
    )
    command = [sys.executable, "-c", code, tmp_path / "body.onnx"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_network_that_would_gain_nothing_stays_as_it_is(few):
    """No convolution but the first three; or other activations than ReLU between them."""
    model = onnx.load(walk.walk().export / "model.onnx")
    for node in model.graph.node:
        if node.op_type == "Clip":
            node.op_type = "HardSwish"
            del node.input[1:]
    for data in (tiny_release.model(), model.SerializeToString()):
        assert quantization.quantized(data, walk.SIZE) == b""
    assert offered(lambda: None) == (None, Quantization(False, "few of its layers would gain"))


def colours(folder, *names):
    """Rows of a picture of each colour, all of the same class."""
    for name in names:
        (folder / f"{name}.jpg").write_bytes(tiny_release.picture(name))
    return [LabelRow(f"{name}.jpg", "disc", "0" * 64, "test") for name in names]


def said_by(model, rows, folder):
    (folder / "model.onnx").write_bytes(model)
    return answers.answers(folder / "model.onnx", TINY, [folder / row.file for row in rows], None)


@pytest.mark.parametrize(
    ("weights", "limits", "labels", "changed"),
    [
        (-1.0, (0.0, 0.0), 2, 2),
        # The same label, and now below the threshold.
        (0.03, (0.6, 0.0), 0, 2),
        # Nothing was told of the black one before either.
        (0.03, (0.6, 0.3), 0, 1),
        (0.03, (0.0, 0.0), 0, 0),
        (1.0, (0.6, 0.0), 0, 0),
    ],
)
def test_compare_counts_what_changed(tmp_path, weights, limits, labels, changed):
    models = (tiny_release.model(factor * tiny_release.WEIGHTS) for factor in (1.0, weights))
    files = colours(tmp_path, "yellow", "darkred")
    threshold, familiarity = limits
    card = replace(TINY, threshold=threshold, familiarity=familiarity)
    said = quantization.compare(*(said_by(model, files, tmp_path) for model in models), card, files)
    assert (said.pictures, said.labels_changed, said.answers_changed) == (2, labels, changed)


def test_the_difference_is_a_pictures_and_not_a_classs(tmp_path):
    """From all for the one class to all for another is 1, however many classes there are."""
    models = map(tiny_release.model, (tiny_release.WEIGHTS, tiny_release.WEIGHTS[[2, 0, 1]]))
    files = colours(tmp_path, "yellow")
    said = quantization.compare(*(said_by(model, files, tmp_path) for model in models), TINY, files)
    assert said.mean_difference == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("pictures", "floats", "integers", "p", "why"),
    [
        (1000, (0.1, 0.3, 0.9), (0.105, 0.32, 0.88), 0.2, None),
        (1000, (0.1, 0.3, 0.9), (0.08, 0.2, 1.0), 1.0, None),
        (1000, (0.1, 0.3, 0.9), (0.106, 0.3, 0.9), 0.2, "0.6 points more error on 1000 held-out pictures"),
        (1000, (0.1, 0.3, 0.9), (0.1, 0.321, 0.9), 1.0, "0.021 nats more loss on 1000"),
        (1000, (0.1, 0.3, 0.9), (0.1, 0.3, 0.879), 1.0, "2.1 points more pictures without an answer on 1000"),
        (10_000, (0.1, 0.3, 0.9), (0.104, 0.3, 0.9), 0.01, "surely more error on 10000 held-out pictures"),
        (1000, (0.1, 0.3, 0.9), (0.1, np.nan, 0.9), 1.0, "nan nats more loss"),
        # One picture is none.
        (50, (0.1, 0.3, 0.9), (0.12, 0.3, 0.88), 0.5, None),
        (50, (0.1, 0.3, 0.9), (0.14, 0.3, 0.9), 0.25, "4.0 points more error"),
    ],
)
def test_what_integers_may_cost(pictures, floats, integers, p, why):
    told = quantization.cost(HeldOut(*floats), HeldOut(*integers), pictures, p)
    assert told is None if why is None else told.startswith(why)
