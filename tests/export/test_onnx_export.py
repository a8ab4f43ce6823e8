import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.evaluation import calibration, predictions
from greenr_luigi.export import assembly, parity
from greenr_luigi.export.model_card import ModelCard, read_card
from greenr_luigi.inference import open_session
from greenr_luigi.pictures import door
from greenr_luigi.training import architectures, body_onnx, linear_head
from tests import walk

pytestmark = pytest.mark.slow

#: Plain fastai, as someone else would load the model. The lines before it are for a torchvision that does
#: not go with its torch (greenr_luigi/libraries.py says why).
PLAIN = """
import sys, warnings
warnings.simplefilter("ignore")
sys.modules["greenr_luigi"] = None
import torch
try:
    import torchvision
except RuntimeError:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from fastai.vision.all import load_learner
learn = load_learner(sys.argv[1])
with learn.no_bar():
    label, number, probabilities = learn.predict(sys.argv[2])
print(label, *map(float, probabilities))
"""


def test_writes_what_the_contract_says():
    folder = walk.walk().export
    names = {p.name for p in folder.iterdir()} - {"model.int8.onnx"}  # The processor's and the pictures' say.
    assert names == {"export.pkl", "model.json", "model.onnx"}
    card = read_card(folder)
    assert (card.classes, card.image_size, card.resize) == (["disc", "three"], walk.SIZE, "squish-bilinear")
    told = json.loads((folder / "model.json").read_text())
    assert set(told) == {field.name for field in fields(ModelCard)}
    metrics = json.loads((walk.walk().evaluation / "metrics.json").read_text())
    assert told["data"] == metrics["data"]
    kept = {
        name: value
        for name, value in metrics.items()
        if name not in ("classes", "command", "data", "reliability")
    }
    assert told["metrics"] == kept


def test_plain_fastai_loads_and_predicts(tmp_path):
    folder = walk.walk().export
    picture = next((walk.walk().dataset / "test" / "disc").iterdir())
    pickled = (folder / "export.pkl").read_bytes()
    # cloudpickle notes where installed packages lie, which may be in a clone of this project.
    for place in (sys.prefix, str(Path(__file__).parents[2])):
        pickled = pickled.replace(place.encode(), b"")
    assert b"greenr" not in pickled
    # -I: neither PYTHONPATH nor the working directory leads to this project.
    command = [sys.executable, "-I", "-c", PLAIN, str(folder / "export.pkl"), str(picture)]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    card = json.loads((folder / "model.json").read_text())
    pixels = door.square(door.open_picture(picture.read_bytes(), at_least=walk.SIZE), walk.SIZE)[None]
    ours = open_session(folder / "model.onnx").run(["heat"], {"pixels": pixels})[0].mean((2, 3))
    assert told[0] == card["classes"][int(ours.argmax())]
    assert np.allclose([float(p) for p in told[1:]], calibration.softmax(ours)[0], atol=1e-4)


def test_onnx_is_one_file_with_the_contract_s_names_and_no_trace_of_this_machine():
    file = walk.walk().export / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    assert [i.name for i in model.graph.input] == ["pixels"]
    assert [o.name for o in model.graph.output] == ["probabilities", "heat", "familiarity"]
    running = open_session(file)
    assert running.get_inputs()[0].type == "tensor(uint8)" and running.get_inputs()[0].shape[1:] == [
        walk.SIZE,
        walk.SIZE,
        3,
    ]
    assert isinstance(running.get_inputs()[0].shape[0], str)
    for trace in (b".py", str(Path.cwd()).encode(), str(Path.home()).encode() + b"/"):
        assert trace not in file.read_bytes()


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_heat_s_mean_is_the_logit_and_a_batch_is_its_pictures(number, seed):
    card = json.loads((walk.walk().export / "model.json").read_text())
    running = session()
    pixels = np.random.default_rng(seed).integers(0, 256, (number, walk.SIZE, walk.SIZE, 3), np.uint8)
    probabilities, heat, near = running.run(None, {"pixels": pixels})
    assert near.shape == (number,) and (np.abs(near) <= 1 + 1e-6).all()
    assert heat.shape == (number, 2, 2, 2) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.allclose(calibration.softmax(heat.mean((2, 3)), card["temperature"]), probabilities, atol=1e-5)
    alone = np.concatenate([running.run(["probabilities"], {"pixels": one[None]})[0] for one in pixels])
    assert np.allclose(alone, probabilities, atol=1e-5)


def session():
    return open_session(walk.walk().export / "model.onnx")


def test_onnx_says_what_the_evaluation_measured():
    folders = walk.walk()
    held_out = predictions.read_predictions(folders.evaluation / "predictions.csv")
    for row, logit in zip(held_out.rows, held_out.logits, strict=True):
        data = (folders.dataset / row.file).read_bytes()
        pixels = door.square(door.open_picture(data, at_least=walk.SIZE), walk.SIZE)[None]
        heat, near = session().run(["heat", "familiarity"], {"pixels": pixels})
        assert np.allclose(heat.mean((2, 3))[0], logit, atol=1e-3)
        assert near[0] == pytest.approx(row.familiarity, abs=1e-4)


def test_a_wrong_onnx_is_not_let_through(tmp_path):
    """One weight of the head differs: the check must see it and name a picture."""
    folders = walk.walk()
    for file in folders.export.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())

    def change(weight, bias):
        weight[0, :200] += 0.05

    walk.write_with_other_head(tmp_path / "model.onnx", change)
    card, centers = read_card(folders.export), np.load(folders.evaluation / "centers.npy")
    # Whoever writes there after us does not have it loaded.
    pickled = (tmp_path / "export.pkl").read_bytes()
    (tmp_path / "export.pkl").write_bytes(b"cposix\nabort\n(tR.")
    files = sorted((folders.dataset / "test").glob("*/*.jpg"))
    with pytest.raises(parity.ParityError, match=r"familiarity in fastai and in ONNX Runtime differ by"):
        parity.check_parity(folders.export, card, files, np.roll(centers, 1, 1), pickled)
    with pytest.raises(
        parity.ParityError, match=r"fastai and ONNX Runtime differ by .* expected at most 0.0001"
    ):
        parity.check_parity(tmp_path, card, files, centers, pickled)
    with pytest.raises(
        parity.ParityError, match=r"has the classes \['disc', 'three'\], expected \['a', 'b'\]"
    ):
        parity.check_parity(folders.export, replace(card, classes=["a", "b"]), files, centers, pickled)


def test_a_body_without_a_feature_map_exports_too():
    """The heat is then one location."""
    learn = architectures.learner(architectures.find("test_vit"), ["a", "b"], 160, pretrained=False)
    learn.model.eval()
    training = walk.settings(architectures.find("test_vit"), 160)
    body, head = body_onnx.written(learn.model[0], training), linear_head.folded(learn.model[1])
    model = assembly.assembled(
        assembly.Parts(body, head.weight, head.bias, 1.0, np.eye(2, 64, dtype=np.float32))
    )
    probabilities, heat, near = open_session(model).run(
        None, {"pixels": np.zeros((3, 160, 160, 3), np.uint8)}
    )
    assert probabilities.shape == (3, 2) and heat.shape == (3, 2, 1, 1) and near.shape == (3,)
