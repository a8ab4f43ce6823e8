import numpy as np
import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from greenr_luigi.inference import is_answer, open_session
from tests import tiny_release


@pytest.mark.parametrize(
    ("probability", "familiarity", "answers"),
    [(0.6, 0.1, True), (0.59, 0.1, False), (0.6, 0.09, False), (0.6, None, True), (0.59, None, False)],
)
def test_an_answer_is_likely_and_familiar_enough(probability, familiarity, answers):
    """Without a familiarity, as in older releases, the probability alone decides."""
    assert is_answer(probability, familiarity, 0.6, 0.1) is answers
    assert is_answer(probability, familiarity, 0.6, None) is (probability >= 0.6)


def test_many_pictures_at_once():
    answered = is_answer(np.array([0.7, 0.7, 0.5]), np.array([0.2, 0.0, 0.2]), 0.6, 0.1)
    assert answered.tolist() == [True, False, False]


def test_a_session_has_as_many_threads_as_asked_and_answers(tmp_path):
    tiny_release.export(tmp_path)
    session = open_session(tmp_path / "model.onnx", threads=1)
    options = session.get_session_options()
    assert options.intra_op_num_threads == 1
    # Nor do they keep a core from others while they wait for each other.
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    (probabilities,) = session.run(
        ["probabilities"], {"pixels": np.zeros((2, tiny_release.SIZE, tiny_release.SIZE, 3), np.uint8)}
    )
    assert probabilities.shape == (2, len(tiny_release.CLASSES))


@pytest.mark.parametrize("as_attribute", [False, True])
@pytest.mark.parametrize("location", ["beside", "../secret", "{}/secret"])
def test_a_model_that_refers_to_other_files_is_refused(location, as_attribute, tmp_path, monkeypatch):
    """Whoever may write releases must not read with the server's rights, by what the model answers."""
    numbers = np.arange(4, dtype=np.float32).tobytes()
    model, place = tmp_path / "release" / "model.onnx", location.format(tmp_path)
    model.parent.mkdir()
    for file in (tmp_path / "secret", tmp_path / "release" / "beside"):
        file.write_bytes(numbers)
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4], data_location=1)
    for key, value in {"location": place, "offset": "0", "length": "16"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    if as_attribute:
        node, initializers = onnx.helper.make_node("Constant", [], ["y"], value=tensor), []
    else:
        node, initializers = onnx.helper.make_node("Identity", ["w"], ["y"]), [tensor]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    graph = onnx.helper.make_graph([node], "g", [], [output], initializers)
    opset = [onnx.helper.make_opsetid("", 18)]
    model.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    # Where the server works; bytes without a path are read from there.
    monkeypatch.chdir(model.parent)
    with pytest.raises(Fail, match="External data"):
        open_session(model)
