"""Words and numbers as people read and write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenr_luigi.text import composed, did_you_mean, duration, part_title, percent, thousands, without_part


@pytest.mark.parametrize(
    ("fraction", "digits", "words"),
    [
        (None, 0, "–"),
        (0, 0, "0 %"),
        (1, 0, "100 %"),
        (0.973, 0, "97 %"),
        (0.973, 1, "97.3 %"),
        (0.999, 0, "> 99 %"),
        (0.9999, 1, "> 99.9 %"),
        (0.001, 0, "< 1 %"),
        (0.0001, 1, "< 0.1 %"),
    ],
)
def test_percent_never_says_all_or_none_of_what_is_not_quite(fraction, digits, words):
    assert percent(fraction, digits) == words.replace(" %", "\N{NO-BREAK SPACE}%")


def test_large_numbers_are_grouped_and_one_that_is_not_known_is_a_dash():
    assert [thousands(number) for number in (999, 1277, 1_000_000, None)] == [
        "999",
        "1,277",
        "1,000,000",
        "–",
    ]


@pytest.mark.parametrize(
    ("word", "known", "words"),
    [
        ("Trainmodle", ["SplitDataset", "TrainModel"], "did you mean TrainModel?"),
        ("GRASS", ["dandelion", "grass"], "did you mean grass?"),
        ("xyz", ["dandelion", "grass"], "expected one of dandelion, grass"),
        ("xyz", [f"class {number}" for number in range(21)], "class 18, class 19, …"),
    ],
)
def test_did_you_mean_names_the_nearest_or_what_there_is(word, known, words):
    assert did_you_mean(word, known).endswith(words)


def test_a_name_is_composed_in_one_way():
    assert composed("Lo\u0308we") == composed("Löwe") == "L\u00f6we"


@given(st.text(), st.integers(0, 999), st.integers(1, 999))
def test_the_parts_of_a_class_are_called_together(label, number, of):
    title = part_title(label, number, of)
    assert without_part(title) == (f"PictureShard({label})", f"{number + 1} of {of}")
    assert without_part(f"DownloadImages({label} 1 of 2)")[1] == ""


def test_durations_are_said_as_people_say_them():
    seconds = (0, 4.21, 59.94, 59.96, 200, 3599.6, 7500)
    words = ["0.0 s", "4.2 s", "59.9 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]
    assert [*map(duration, seconds)] == words
