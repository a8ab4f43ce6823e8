"""Which side pictures stand on: what was given stays, what belongs together is on one side, nothing is moved."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi import contracts
from greenr_luigi.dataset.cleaning import NearDuplicates, Picture
from greenr_luigi.dataset.rows import SplitNote, read_excluded, read_manifest
from greenr_luigi.dataset.sides import Rule, Unit, choose, fill_empty, unit_of
from greenr_luigi.dataset.split import Division, TooFewPictures, split
from greenr_luigi.pictures.manifest import SIDES, PictureRow
from tests.dataset.test_split import collected, divided, many, row
from tests.progress import quiet
from tests.sources.collecting import collect_from
from tests.sources.conftest import picture

anywhere = settings(max_examples=60, deadline=None)


def of_kind(
    number: int,
    label: str,
    near: int | None,
    same: bool,
    group: str | None,
    side: str | None,
    fetched: str | None,
) -> PictureRow:
    """`same`: it looks just like the one that it is near."""
    one = row(number, label, near, fetched)
    looks = row(near) if same and near is not None else one
    return replace(one, dhash=looks.dhash, phash=looks.phash, group=group, given_side=side)


ROWS = st.lists(
    st.builds(
        of_kind,
        st.integers(0, 4000),
        st.sampled_from("ab"),
        st.none() | st.integers(0, 6),
        st.booleans(),
        st.sampled_from([None, None, "x", "y", "z", "w"]),
        st.sampled_from([None, None, *SIDES]),
        st.sampled_from([None, "2026-01-01", "2026-01-02"]),
    ),
    max_size=40,
    unique_by=lambda one: one.sha256,
)


def sides_of(rows: Sequence[PictureRow], fill: bool = True, seed: int = 0) -> dict[str, str]:
    """The side of each picture that stays, by its sha256."""
    pictures = [Picture(one, Path(one.file)) for one in rows]
    near = NearDuplicates(pictures)
    given = {label: {one.given_side for one in rows if one.label == label} for label in "ab"}
    sides, reasons = choose(pictures, near, Rule(seed, 0.15, 0.15, given))
    kept = [picture for picture in pictures if picture.row.sha256 not in reasons]
    if fill:
        fill_empty(kept, near, sides, seed)
    return {picture.row.sha256: sides[unit_of(picture.row)] for picture in kept}


@anywhere
@given(ROWS)
def test_no_group_is_on_two_sides_and_no_copy_is_on_another(rows: list[PictureRow]) -> None:
    sides = sides_of(rows)
    by_group: dict[Unit, set[str]] = defaultdict(set)
    for one in rows:
        if one.sha256 in sides:
            by_group[unit_of(one)].add(sides[one.sha256])
    assert all(len(found) == 1 for found in by_group.values())
    near = NearDuplicates([Picture(one, Path()) for one in rows]).of
    for one in rows:
        for other in rows:
            hash = one.perceptual_hash
            if {one.sha256, other.sha256} <= sides.keys() and other.perceptual_hash in (hash, *near[hash]):
                assert sides[one.sha256] == sides[other.sha256]


@anywhere
@given(ROWS)
def test_what_is_given_to_be_held_out_is_never_elsewhere(rows: list[PictureRow]) -> None:
    sides = sides_of(rows)
    near = NearDuplicates([Picture(one, Path()) for one in rows]).of
    for one in rows:
        there = sides.get(one.sha256)
        if one.given_side == "test":
            # Nothing that was given otherwise, or not at all, puts it out.
            assert there == "test"
        elif one.given_side == "valid" and there is None:
            tests = [other for other in rows if other.given_side == "test"]
            same = {one.perceptual_hash, *near[one.perceptual_hash]}
            assert any(other.perceptual_hash in same or unit_of(other) == unit_of(one) for other in tests)
        else:
            assert one.given_side != "valid" or there == "valid"


@anywhere
@given(ROWS, ROWS)
def test_pictures_that_come_move_none(first: list[PictureRow], then: list[PictureRow]) -> None:
    """Those that are given no side: a person who gives one to some of a group moves the group."""
    known = {one.sha256 for one in first}
    new = [replace(one, given_side=None) for one in then if one.sha256 not in known]
    before, after = sides_of(first, fill=False), sides_of(first + new, fill=False)
    assert all(after[sha] == side for sha, side in before.items() if sha in after)
    assert all(after[one.sha256] == "test" for one in first if one.given_side == "test")


def test_given_and_ours_are_one_where_nothing_is_given() -> None:
    rows = many("a", 0) + many("b", 1000) + [row(3000 + n, "a", near=n) for n in range(10)]
    assert divided(rows, keep_given=True) == divided(rows, keep_given=False)


def given_as(label: str, start: int, **counts: int) -> list[PictureRow]:
    """So many pictures of a class on each side; `none` for those that are given none."""
    sides = [side for side, count in counts.items() for _ in range(count)]
    return [
        replace(one, given_side=None if side == "none" else side)
        for side, one in zip(sides, many(label, start, len(sides)), strict=True)
    ]


def note_of(tmp_path: Path, rows: list[PictureRow]) -> SplitNote:
    (tmp_path / "out").mkdir()
    places = collected(tmp_path / "in", rows)
    split(places, tmp_path / "out", Division(0), curation=None, on_progress=quiet)
    return contracts.read(tmp_path / "out/split.json", SplitNote)


def test_a_whole_split_is_kept_as_it_is(tmp_path: Path) -> None:
    rows = given_as("a", 0, train=30, valid=4, test=60) + given_as("b", 1000, train=3, valid=1, test=1)
    note = note_of(tmp_path, rows)
    assert note == SplitNote({"train": 33, "valid": 5, "test": 61}, {}, {}, 0, 0)


@pytest.mark.parametrize("missing", ["valid", "test"])
def test_a_side_that_is_not_given_is_taken_from_what_is_given_for_training(missing: str) -> None:
    """As Kaggle's train and test, and fastai's train and valid; what is given to be held out loses nothing."""
    (held_out,) = {"valid", "test"} - {missing}
    rows = [
        one
        for label, start in (("a", 0), ("b", 1000))
        for one in given_as(label, start, train=90, **{held_out: 20})
    ]
    kept, _ = divided(rows)
    by_side = {side: [one for one in kept.values() if one.side == side] for side in SIDES}
    assert {one.given_side for one in by_side[missing]} == {"train"} and 9 < len(by_side[missing]) < 45
    assert [one.given_side for one in by_side[held_out]] == [held_out] * 40
    assert {one.given_side for one in by_side["train"]} == {"train"}
    ours, _ = divided(rows, keep_given=False)
    assert {one.given_side for one in ours.values()} == {None}
    # The same pictures as without what is given for the other side.
    assert {one.sha256 for one in by_side[missing]} < {
        one.sha256 for one in ours.values() if one.side == missing
    }


def test_a_folder_of_train_and_test_is_collected_and_kept(tmp_path: Path) -> None:
    """The same picture, or a copy of it, is not learned from where it is held out."""
    for label, start in (("a", 0), ("b", 100)):
        for side, numbers in (("Training", range(24)), ("Testing", range(24, 30))):
            (tmp_path / "mine" / side / label).mkdir(parents=True)
            for n in numbers:
                (tmp_path / f"mine/{side}/{label}/{n // 3}_{n % 3}.jpg").write_bytes(picture(start + n))
    (tmp_path / "mine/Training/a/same.jpg").write_bytes(picture(24))
    (tmp_path / "mine/Training/a/copy.jpg").write_bytes(picture(25, 128))
    places = {label: tmp_path / label for label in "ab"}
    for label, place in places.items():
        collect_from("folder", label, place, folder=tmp_path / "mine")
    (tmp_path / "out").mkdir()
    split(places, tmp_path / "out", Division(1, group=r"([^/]+)_\d"), curation=None, on_progress=quiet)
    kept = read_manifest(tmp_path / "out")
    assert len(kept) == 60 and {one.side for one in kept} == {*SIDES}
    for one in kept:
        held_out = str(one.file_url).startswith("Testing/")
        assert (one.side == "test") == (one.given_side == "test") == held_out
    (copy,) = read_excluded(tmp_path / "out")
    assert copy.reason == "near-duplicate" and copy.detail.endswith("which is in test")
    by_group = defaultdict(set)
    for one in kept:
        by_group[one.group].add(one.side)
    assert len(by_group) == 10 and all(len(sides) == 1 for sides in by_group.values())


def test_a_class_that_is_given_no_test_side_gets_it_from_its_own_pictures(tmp_path: Path) -> None:
    rows = given_as("a", 0, train=40, valid=9, test=9) + given_as("b", 1000, train=60, valid=9)
    note = note_of(tmp_path, rows)
    assert note.given["test"] == 9 and note.held_out.keys() == {"test"} and 3 < note.held_out["test"] < 20


def test_what_comes_without_a_side_is_divided_by_our_rule_and_gives_way(tmp_path: Path) -> None:
    rows = given_as("a", 0, train=40, valid=9, test=9, none=60) + given_as(
        "b", 1000, train=9, valid=9, test=9
    )
    copies = [replace(row(3000 + n, "a", near=n), fetched="2020-01-01") for n in range(58)]
    note = note_of(tmp_path, rows + copies)
    assert note.given == {"train": 49, "valid": 18, "test": 18} and note.ours.keys() == {*SIDES}
    _, out = divided(rows + copies)
    assert {one.sha256 for one in out} <= {one.sha256 for one in copies} and len(out) > 20


def test_training_pictures_that_nearly_equal_a_test_picture_are_left_out_and_named() -> None:
    rows = given_as("a", 0, train=20, valid=9, test=9) + given_as("b", 1000, train=9, valid=9, test=9)
    # Of pictures 30 to 37, which are given for testing.
    copies = [replace(row(3000 + n, "a", near=n), given_side="train") for n in range(30, 34)]
    kept, out = divided(rows + copies)
    assert [(kept[row(n).sha256].near, one.sha256, one.reason) for n, one in enumerate(out, 30)] == [
        (copy.sha256[:16], copy.sha256, "near-duplicate")
        for n, copy in zip(range(30, 34), copies, strict=True)
    ]
    assert "which is in test" in out[0].detail and kept[row(30).sha256].side == "test"


def test_the_same_file_given_twice_by_two_classes_is_held_out(tmp_path: Path) -> None:
    """A person called it by the name of the other class, whose test picture it is."""
    from greenr_luigi.dataset import curation

    rows = given_as("a", 0, train=20, valid=9, test=9) + given_as("b", 1000, train=9, valid=9, test=9)
    twice = replace(rows[-1], label="a", given_side="train")
    curation.relabel(tmp_path, "b", [twice.sha256])
    kept, out = divided([*rows, twice], curation=tmp_path / "curation.csv")
    assert kept[twice.sha256].side == "test" and [one.reason for one in out] == ["duplicate"]


def test_a_group_follows_its_pictures_that_are_held_out_and_those_given_otherwise_are_out() -> None:
    rows = given_as("a", 0, train=20, valid=9, test=9, none=9) + given_as("b", 1000, train=9, valid=9, test=9)
    # Pictures 19 (train), 28 (valid), 37 (test) and 46 (none), and 0 with a picture that is given none.
    group = {19: "video", 28: "video", 37: "video", 46: "video", 0: "other", 45: "other"}
    rows = [replace(one, group=group.get(n)) for n, one in enumerate(rows)]
    kept, out = divided(rows)
    assert [(one.reason, one.group) for one in out] == [("group", "video")] * 2
    assert "its group 'video' is in test, too, as it was given" in out[0].detail
    assert [kept[row(n).sha256].side for n in (37, 46, 0, 45)] == ["test", "test", "train", "train"]


def test_a_side_is_not_filled_with_one_of_two_that_look_alike() -> None:
    for seed in range(20):
        rows = [*many("a", 0, 5), *(row(3000 + n, "a", near=n) for n in range(4))]
        sides = sides_of([*rows, *many("b", 1000, 5)], seed=seed)
        assert all(sides.get(row(3000 + n).sha256, sides[row(n).sha256]) == sides[row(n).sha256] for n in range(4)
                   if row(n).sha256 in sides)  # fmt: skip


def test_small_classes_get_whole_groups_on_every_side() -> None:
    for seed in range(8):
        rows = [replace(one, group=f"g{n // 4}") for n, one in enumerate(many("a", 0, 12))]
        kept, _ = divided(rows + many("b", 1000, 8), seed)
        sides = defaultdict(set)
        for one in kept.values():
            sides[one.group].add(one.side)
        assert sorted(side for n in range(3) for side in sides[f"g{n}"]) == sorted(SIDES)


def test_no_class_is_emptied_to_fill_another() -> None:
    """The groups of a small class hold pictures of another, whose sides they are."""
    rng = random.Random(0)
    for _ in range(30):
        rows = [replace(one, group=rng.choice("uvwxyz")) for one in (*many("a", 0, 7), *many("b", 1000, 7))]
        before, after = sides_of(rows, fill=False), sides_of(rows)
        for label in "ab":
            had = {before[one.sha256] for one in rows if one.label == label}
            has = {after[one.sha256] for one in rows if one.label == label}
            assert had <= has


def test_too_few_groups_and_too_few_given_are_an_error_that_says_so() -> None:
    rows = [replace(one, group=f"walk {n % 2}") for n, one in enumerate(many("a", 0, 40))]
    kept, _ = divided(rows + many("b", 1000))
    sides = {one.side for one in kept.values() if one.label == "a"}
    assert len(sides) == 2 and "test" in sides, "what there is to learn from may be validation pictures"
    with pytest.raises(
        TooFewPictures, match=r"'a' has 40 usable pictures in 1 group: .* a class needs two of them"
    ):
        divided([replace(one, group="walk") for one in rows] + many("b", 1000))
    with pytest.raises(
        TooFewPictures, match=r"'a' has 40 usable pictures: 0 train, 0 valid, 40 test.*`--split ours`"
    ):
        divided(given_as("a", 0, test=40) + many("b", 1000))
