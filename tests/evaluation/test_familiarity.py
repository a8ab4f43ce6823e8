import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from greenr_luigi.evaluation import familiarity

FEATURES = arrays(np.float32, (7, 5), elements=st.integers(0, 100))


def test_a_picture_is_as_familiar_as_the_nearest_class_is_near():
    features = np.array([[2, 0, 0], [4, 0, 0], [0, 3, 0]], np.float32)
    centers = familiarity.class_centers(features, np.array([0, 0, 2]))
    assert centers.tolist() == [[1, 0, 0], [0, 1, 0]], "one for each class that has pictures"
    asked = np.array([[9, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 5], [0, 0, 0]], np.float32)
    assert familiarity.familiarity(asked, centers) == pytest.approx([1, 1, 0.5**0.5, 0, 0])


@given(arrays(np.float32, (30, 5), elements=st.integers(0, 100)), st.integers(0, 99))
def test_the_centers_beside_a_fold_are_those_of_all_other_pictures(features, seed):
    labels, fold = np.arange(30) % 3, np.random.default_rng(seed).permutation(30) % 5 - 1
    centers = familiarity.centers_by_fold(features, labels, fold, 4)
    near = familiarity.out_of_fold(features, centers, fold)
    assert (np.isnan(near) == (fold == -1)).all()
    for k in range(4):
        others = familiarity.class_centers(features[fold != k], labels[fold != k])
        assert centers[k] == pytest.approx(others, abs=1e-5)
        assert near[fold == k] == pytest.approx(
            familiarity.familiarity(features[fold == k], others), abs=1e-5
        )


@given(FEATURES, FEATURES, st.floats(0.1, 10))
def test_only_the_direction_counts(known, asked, brighter):
    centers = familiarity.class_centers(known, np.arange(7) % 2)
    near = familiarity.familiarity(asked, centers)
    assert near.shape == (7,) and (np.abs(near) <= 1 + 1e-5).all()
    assert familiarity.familiarity(asked * np.float32(brighter), centers) == pytest.approx(near, abs=1e-4)
