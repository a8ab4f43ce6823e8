"""Which class a digit means: the same one as long as the page runs."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.testclient import TestClient

from greenr_luigi.review.cases import Case, Review
from greenr_luigi.review.digits import Digits
from greenr_luigi.review.page import create
from tests.review.collected import Collected

MANY = tuple(f"class {number:02}" for number in range(12))


def test_a_few_classes_have_a_digit_each_and_new_ones_the_next() -> None:
    digits = Digits()
    assert digits.of(["b", "d"]) == ["b", "d"]
    assert digits.of(["a", "b", "c"]) == ["b", "d", "a", "c"]
    assert digits.of([*"abcdefghij"]) == ["b", "d", "a", "c"]


def test_of_many_classes_those_that_are_used_first_have_one() -> None:
    digits = Digits()
    assert digits.of(MANY) == []
    for number in (7, 3, 7, 11):
        digits.use(MANY[number])
    assert digits.of(MANY) == [MANY[7], MANY[3], MANY[11]]
    for label in MANY:
        digits.use(label)
    assert len(digits.of(MANY)) == 9 and digits.of(MANY)[:3] == [MANY[7], MANY[3], MANY[11]]


def keys(html: str) -> dict[str, list[str]]:
    found = re.findall(r'value="=?([^"]*)"( data-key="([^"]*)")?>(Yes|No)', html)
    return {label: given.split() for label, _, given, _ in found}


def test_a_digit_means_the_same_class_for_all_pictures(tmp_path: Path) -> None:
    place = Collected(tmp_path, 2, labels=("a", "b", "c"))
    cases = [
        Case(place.folders[label] / row.file, row.sha256, label, predicted, 0.1)
        for label, predicted in (("a", "c"), ("b", "a"), ("c", "b"))
        for row in place.rows[label][:1]
    ]
    page = TestClient(create(Review(place.root, cases, ["a", "b", "c"]), "t"), "http://127.0.0.1")
    assert keys(page.get("/t/?at=0").text) == {"keep": ["k", "1"], "c": ["m", "3"], "b": ["2"]}
    assert keys(page.get("/t/?at=1").text) == {"keep": ["k", "2"], "a": ["m", "1"], "c": ["3"]}
    assert keys(page.get("/t/?at=2").text) == {"keep": ["k", "3"], "b": ["m", "2"], "a": ["1"]}


def test_what_was_chosen_has_a_digit_one_by_one_and_in_the_grid(tmp_path: Path) -> None:
    place = Collected(tmp_path, 2, labels=MANY)
    (row, _), folder = place.rows[MANY[0]], place.folders[MANY[0]]
    cases = [Case(folder / row.file, row.sha256, MANY[0], MANY[1], 0.1)] * 2
    review = Review(place.root, cases, MANY)
    page = TestClient(create(review, "t", place.catalogue()), "http://127.0.0.1")
    origin = {"Origin": "http://127.0.0.1"}
    first = page.get("/t/?at=0").text
    assert keys(first) == {"keep": ["k"], MANY[1]: ["m"]} and first.count("Another class") == 1
    assert page.get("/t/grid/said").json()["digits"] == []
    page.post("/t/decide", data={"at": "0", "verdict": f"={MANY[1]}"}, headers=origin)
    assert review.batches.digits.of(MANY) == [], "it has a key of its own"
    page.post("/t/decide", data={"at": "0", "verdict": f"={MANY[9]}"}, headers=origin)
    other = place.rows[MANY[4]][0].sha256[:16]
    asked = {"verdict": f"={MANY[5]}", "pictures": {other: ""}}
    assert page.post("/t/grid/decide", json=asked, headers=origin).json()["digits"] == [MANY[9], MANY[5]]
    assert keys(page.get("/t/?at=1").text) == {"keep": ["k"], MANY[1]: ["m"], MANY[9]: ["1"], MANY[5]: ["2"]}
    assert f'data-verdict="={MANY[9]}" data-key="1"' in page.get("/t/grid").text
