import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from greenr_luigi.evaluation import calibration

LOGITS = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(2, 6)), elements=st.floats(-60, 60))


@settings(deadline=None)
@given(LOGITS, st.floats(0.05, 20))
def test_softmax_gives_probabilities_and_keeps_the_order(logits, temperature):
    probabilities = calibration.softmax(logits, temperature)
    assert np.allclose(probabilities.sum(1), 1) and (probabilities >= 0).all()
    rising = np.take_along_axis(probabilities, logits.argsort(1), 1)
    assert (np.diff(rising) >= 0).all()


@pytest.mark.slow
def test_temperature_finds_what_was_done_to_honest_logits():
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, (20_000, 3))
    labels = np.array([generator.choice(3, p=p) for p in calibration.softmax(honest)])
    assert calibration.fit_temperature(honest, labels) == pytest.approx(1, abs=0.03)
    assert calibration.fit_temperature(honest * 3, labels) == pytest.approx(3, abs=0.1)
    before = calibration.expected_calibration_error(calibration.softmax(honest * 3), labels)
    after = calibration.expected_calibration_error(calibration.softmax(honest), labels)
    assert after < 0.01 < 0.1 < before


@settings(deadline=None)
@given(LOGITS, st.randoms())
def test_temperature_is_never_absurd(logits, random):
    """Also for a handful of pictures, all right or all wrong."""
    labels = np.array([random.randrange(logits.shape[1]) for _ in logits])
    assert 0.05 <= calibration.fit_temperature(logits, labels) <= 20
    assert 0.3 < calibration.fit_temperature(np.array([[4.0, 0.0]] * 20), np.zeros(20, np.int64)) <= 1


@settings(deadline=None)
@given(LOGITS, st.floats(0, 1))
def test_threshold_answers_as_often_as_was_asked(logits, coverage):
    probabilities = calibration.softmax(logits)
    threshold = calibration.threshold(probabilities.max(1), coverage)
    assert (probabilities.max(1) >= threshold).mean() >= coverage - 1e-9


@settings(deadline=None)
@given(LOGITS, st.randoms())
def test_reliability_counts_every_picture_once(logits, random):
    labels = np.array([random.randrange(logits.shape[1]) for _ in logits])
    probabilities = calibration.softmax(logits)
    rows = calibration.reliability(probabilities, labels)
    assert sum(row.pictures for row in rows) == len(labels)
    assert 0 <= calibration.expected_calibration_error(probabilities, labels) <= 1
