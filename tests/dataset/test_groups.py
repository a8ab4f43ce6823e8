"""What belongs together, by a pattern or by what a folder says."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi.dataset.cleaning import NearDuplicates, Picture
from greenr_luigi.dataset.groups import GroupError, grouped, inseparable
from greenr_luigi.dataset.rows import read_labels
from greenr_luigi.dataset.split import Division, split
from tests.dataset.test_split import collected, divided, many, row

PATHS = ["walk/0007_frame1.jpg", "walk/0007_frame2.jpg", "run/0007_frame1.jpg", "run/alone.jpg", None]


def groups(pattern: str, *columns: str) -> list[str | None]:
    rows = [replace(row(n), file_url=path) for n, path in enumerate(PATHS)]
    rows = [replace(one, group=dict(enumerate(columns)).get(n)) for n, one in enumerate(rows)]
    return [one.row.group for one in grouped([Picture(one, Path()) for one in rows], pattern)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"(.+)_frame\d", ["walk/0007", "walk/0007", "run/0007", None, None]),
        (r"(\d+)_frame", ["0007", "0007", "0007", None, None]),
        (r"\w+(?=/\d)", ["walk", "walk", "run", None, None]),
        (r"(\w+)/(?P<group>\d+)", ["0007", "0007", "0007", None, None]),
        (r"(?i)^(WALK)|run", ["walk", "walk", None, None, None]),
        ("", [None] * 5),
    ],
)
def test_the_group_is_what_is_captured(pattern: str, expected: list[str | None]) -> None:
    assert groups(pattern) == expected


def test_a_group_is_one_however_accents_are_composed() -> None:
    written = [unicodedata.normalize(form, "Gänse/Blüte1_2.jpg") for form in ("NFC", "NFD")]
    rows = [replace(row(n), file_url=path) for n, path in enumerate([*written, "Gänse/Blüte2.jpg"])]
    for form in ("NFC", "NFD"):
        pattern = unicodedata.normalize(form, r"(Blüte\d)")
        found = grouped([Picture(one, Path()) for one in rows], pattern)
        assert [one.row.group for one in found] == ["Blüte1", "Blüte1", "Blüte2"]


def test_a_column_counts_where_no_pattern_finds_anything() -> None:
    assert groups("", "a", "a", "b") == ["a", "a", "b", None, None]
    assert groups("(walk)", "a", "b", "c") == ["walk", "walk", "c", None, None]


@pytest.mark.parametrize("pattern", [r"frame(\d{9})", "^", "x*"])
def test_a_pattern_that_makes_no_group_says_so(pattern: str) -> None:
    with pytest.raises(
        GroupError, match=r"it is found in none of 5 pictures, such as walk/0007_frame1\.jpg: expected"
    ):
        groups(pattern)


def test_all_in_one_group_is_an_error_by_a_pattern_and_by_a_column() -> None:
    rows = [replace(one, file_url=f"mine/{n}.jpg") for n, one in enumerate(many("a", 0) + many("b", 1000))]
    with pytest.raises(
        GroupError, match=r"--group \(mine\): all 80 pictures are in one group, 'mine', and a group"
    ):
        divided(rows, group="(mine)")
    with pytest.raises(GroupError, match=r"^all 80 pictures are in one group, 'x'"):
        divided([replace(one, group="x") for one in rows])


def test_what_a_pattern_captures_stands_on_one_side_across_classes() -> None:
    rows = [
        replace(one, file_url=f"{one.label}/{n % 40 // 4}_{n}.jpg")
        for n, one in enumerate(many("a", 0) + many("b", 1000))
    ]
    kept, _ = divided(rows, group=r"/(\d+)_")
    for name in range(10):
        assert len({one.side for one in kept.values() if one.group == str(name)}) == 1
    assert len({one.side for one in kept.values()}) == 3
    alone, _ = divided(rows)
    assert {one.group for one in alone.values()} == {None}
    assert {sha: one.side for sha, one in alone.items()} != {sha: one.side for sha, one in kept.items()}


def test_near_duplicates_and_groups_and_what_belongs_to_both_are_inseparable() -> None:
    """1 looks like 0, which is in a group with 2, which looks like 3."""
    rows = [
        row(0),
        row(1, near=0),
        row(2),
        row(3, near=2),
        row(4),
        row(5),
        row(6),
        replace(row(7), group="h"),
    ]
    rows[0], rows[2] = replace(rows[0], group="g"), replace(rows[2], group="g")
    rows[5] = replace(rows[5], dhash=rows[6].dhash, phash=rows[6].phash)
    found = inseparable(rows, NearDuplicates([Picture(one, Path()) for one in rows]))
    first, second = min(one.sha256[:16] for one in rows[:4]), min(one.sha256[:16] for one in rows[5:7])
    assert found == [first] * 4 + [None] + [second] * 2 + [None]


def test_labels_csv_tells_what_is_inseparable(tmp_path: Path) -> None:
    rows = many("a", 0) + many("b", 1000) + [row(number, near=3) for number in range(2000, 2020)]
    split(collected(tmp_path / "in", rows), tmp_path, Division(0), curation=None, on_progress=lambda *_: None)
    of = {one.sha256: one.group for one in read_labels(tmp_path, "train", "valid", "test")}
    alike = [of[one.sha256] for one in (rows[3], *rows[80:]) if one.sha256 in of]
    assert len(alike) > 2 and len({*alike}) == 1 and None not in alike
    assert [*of.values()].count(None) == len(of) - len(alike)
