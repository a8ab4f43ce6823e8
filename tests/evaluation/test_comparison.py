import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi.evaluation.comparison import at_least, compare, paired_interval, score


def test_the_interval_is_newcombe_s():
    """The first example of table II in his paper: 36 both, 12 and 2 one alone, none neither."""
    assert paired_interval(36, 12, 2, 50) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(1, 40))
def test_the_interval_holds_the_difference_and_turns_with_it(both, first, second, right):
    n = both + first + second + right
    low, high = paired_interval(both, first, second, n)
    assert -1 - 1e-9 <= low < (first - second) / n < high <= 1 + 1e-9
    assert paired_interval(both, second, first, n) == pytest.approx((-high, -low))


def test_a_score_counts_what_is_named_wrongly():
    found = score(np.array([True, False, True, True]))
    assert (found.pictures, found.wrong, found.error) == (4, 1, 0.25)
    # E. B. Wilson's interval of 1 in 4.
    assert found.interval == pytest.approx((0.0456, 0.6994), abs=5e-5)


def test_a_comparison_counts_the_pictures_that_only_one_names_rightly():
    serving, candidate = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    found = compare(["a", "b", "c", "d", "e"], candidate, serving)
    assert (found.worse, found.better) == (["b", "c"], ["d"])
    assert found.difference == pytest.approx(0.2)
    assert found.interval == paired_interval(1, 2, 1, 5)
    # Two heads or three of three tosses.
    assert found.p == pytest.approx(0.5)


@pytest.mark.slow
@given(st.integers(0, 300), st.integers(0, 300))
def test_the_test_is_scipy_s(lost, won):
    from scipy.stats import binomtest

    expected = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1
    assert at_least(lost, lost + won) == pytest.approx(expected, rel=1e-9)


def test_models_that_never_differ_are_equally_good():
    right = np.array([True, False])
    found = compare(["a", "b"], right, right)
    assert (found.difference, found.p, found.worse, found.better) == (0, 1, [], [])
