import pytest

from greenr_luigi.intervals import wilson


@pytest.mark.parametrize(
    ("wrong", "pictures", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1)),
    ],
)
def test_wilson_interval(wrong, pictures, interval):
    """The examples of R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in
    Medicine 17 (1998), table I; and one that is its own mirror."""
    assert wilson(wrong, pictures) == pytest.approx(interval, abs=5e-5)
