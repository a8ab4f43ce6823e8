import numpy as np
import pytest

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
    assert session.get_session_options().intra_op_num_threads == 1
    (probabilities,) = session.run(
        ["probabilities"], {"pixels": np.zeros((2, tiny_release.SIZE, tiny_release.SIZE, 3), np.uint8)}
    )
    assert probabilities.shape == (2, len(tiny_release.CLASSES))
