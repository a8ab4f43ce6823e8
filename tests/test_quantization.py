import json
import subprocess
import sys

import onnx
import pytest

from greenr_luigi import pixels, quantization
from greenr_luigi.web import model
from tests import tiny_release, walk


@pytest.fixture(scope="module")
def held_out():
    dataset = walk.walk().dataset
    return [dataset / row.file for row in pixels.rows(dataset, "test", "valid")]


def quantized_convolutions(file):
    """Names of convolutions that read what was rounded to 8 bits."""
    graph = onnx.load(file).graph
    rounded = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return [n.name for n in graph.node if n.op_type == "Conv" and set(n.input) <= rounded]


needs_vnni = pytest.mark.skipif(
    not model.fast_integers(), reason="this processor is not fast with 8-bit integers (no VNNI)"
)


@needs_vnni
def test_the_export_offers_integers_that_agree(held_out):
    folder = walk.walk().export
    said = json.loads((folder / "model.json").read_text())["int8"]
    assert said["offered"] and said["pictures"] == len(held_out) and said["labels_changed"] == 0
    again = quantization.compare(folder / "model.onnx", folder / "model.int8.onnx", held_out, walk.SIZE)
    assert again | {"offered": True} == said
    assert 0 < again["mean_difference"] <= again["largest_difference"]
    assert (folder / "model.int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size / 3


@needs_vnni
def test_first_layers_and_the_answer_stay_in_float(tmp_path):
    folder = walk.walk().export
    names = [node.name for node in onnx.load(folder / "model.onnx").graph.node if node.op_type == "Conv"]
    assert quantized_convolutions(folder / "model.int8.onnx") == names[quantization.FLOAT_FIRST : -1]
    assert not quantized_convolutions(folder / "model.onnx")


def test_integers_that_disagree_are_withdrawn(tmp_path, monkeypatch, held_out):
    (tmp_path / "model.onnx").write_bytes((walk.walk().export / "model.onnx").read_bytes())
    monkeypatch.setattr(quantization, "MEAN_DIFFERENCE", 1e-9)
    said = quantization.offer(tmp_path, held_out, held_out, walk.SIZE)
    assert not said["offered"] and said["mean_difference"] > 1e-9
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_what_the_library_logs_sets_nothing_up(tmp_path):
    """logging.basicConfig() in a library would have Luigi's own lines printed twice."""
    walked = walk.walk()
    code = (
        "import logging, sys; from pathlib import Path; from greenr_luigi import quantization\n"
        "here, picture, out = map(Path, sys.argv[1:])\n"
        f"assert quantization.quantize(here, [picture], {walk.SIZE}, out)\n"
        "assert not logging.getLogger().handlers\n"
    )
    picture = next((walked.dataset / "train" / "disc").iterdir())
    command = [sys.executable, "-c", code, walked.export / "model.onnx", picture, tmp_path / "out.onnx"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")


def test_a_network_without_convolutions_to_gain_from_stays_as_it_is(tmp_path, held_out):
    (tmp_path / "model.onnx").write_bytes(tiny_release.model())
    assert quantization.offer(tmp_path, held_out, held_out, tiny_release.SIZE) == {"offered": False}
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_compare_counts_what_changed(tmp_path, held_out):
    for name, weights in (("a.onnx", tiny_release.WEIGHTS), ("b.onnx", -tiny_release.WEIGHTS)):
        (tmp_path / name).write_bytes(tiny_release.model(weights))
    said = quantization.compare(tmp_path / "a.onnx", tmp_path / "b.onnx", held_out, tiny_release.SIZE)
    assert said["labels_changed"] == said["pictures"] == len(held_out)
    assert not quantization.worthwhile(said)


@pytest.mark.parametrize(
    ("changed", "mean", "faster", "kept"),
    [
        (0, 0.01, True, True),
        (1, 0.0, True, True),
        (2, 0.0, True, False),
        (0, 0.011, True, False),
        (0, 0.0, False, False),
    ],
)
def test_what_is_let_pass(changed, mean, faster, kept):
    said = {"pictures": 100, "labels_changed": changed, "mean_difference": mean, "faster": faster}
    assert quantization.worthwhile(said) is kept
