"""The split: sides are held through growth, duplicates and ambiguities are out, a person's word counts."""

from __future__ import annotations

import csv
import json
import random
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.dataset import cleaning, curation, decisions
from greenr_luigi.dataset.duplicates import NEAR
from greenr_luigi.dataset.rows import Excluded, SplitRow
from greenr_luigi.dataset.sides import own_number
from greenr_luigi.dataset.split import Division, TooFewPictures, split
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.examine import examine_file
from greenr_luigi.pictures.manifest import PerceptualHash, PictureRow, Refusal
from tests.progress import quiet
from tests.sources.collecting import collect_from
from tests.sources.conftest import picture


def row(number: int, label: str = "a", near: int | None = None, fetched: str | None = None) -> PictureRow:
    """Picture `number`; it looks nearly like picture `near`."""
    rng = random.Random(number if near is None else near)
    dhash, phash = rng.getrandbits(64), rng.getrandbits(176)
    if near is not None:
        dhash ^= 1 << number % 64 | 1 << (number // 64) % 64
    sha = f"{number:064x}"[::-1]
    return PictureRow(
        f"pictures/{sha[:16]}.jpg",
        label,
        sha,
        f"{dhash:016x}",
        64,
        64,
        9,
        "test",
        fetched=fetched,
        phash=f"{phash:044x}",
    )


def collected(root: Path, rows: list[PictureRow]) -> dict[str, Path]:
    """What collecting would have left behind, but for the pixels."""
    for one in rows:
        file = root / one.label / one.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(one.sha256)
    labels = {one.label for one in rows}
    for label in labels:
        manifest.write_jsonl(root / label / "manifest.jsonl", [one for one in rows if one.label == label])
    return {label: root / label for label in labels}


def divided(
    rows: list[PictureRow], seed: int = 0, curation: Path | None = None, **options: Any
) -> tuple[dict[str, SplitRow], list[Excluded]]:
    """The data set by sha256, and what is not in it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        division, places = Division(seed, **options), collected(Path(folder, "in"), rows)
        split(places, out, division, curation=curation, on_progress=quiet)
        kept = manifest.read_csv(out / "manifest.csv", SplitRow)
        files = {path.relative_to(out).as_posix() for path in out.glob("*/*/*")}
        assert files == {one.file for one in kept}
        assert all((out / one.file).read_text() == one.sha256 for one in kept)
        return {one.sha256: one for one in kept}, manifest.read_csv(out / "excluded.csv", Excluded)


def many(label: str, start: int, count: int = 40) -> list[PictureRow]:
    return [row(number, label) for number in range(start, start + count)]


BASE = many("a", 0) + many("b", 1000)
NEW = st.lists(
    st.builds(
        row,
        st.integers(2000, 9000),
        st.sampled_from("ab"),
        st.none() | st.integers(0, 20) | st.integers(2000, 2010),
        st.sampled_from([None, "2026-01-01", "2026-01-02"]),
    ),
    max_size=40,
    unique_by=lambda one: one.sha256,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(NEW, NEW, st.integers(0, 3))
def test_growth_moves_nothing_from_side_to_side(
    first: list[PictureRow], then: list[PictureRow], seed: int
) -> None:
    known = {one.sha256 for one in first}
    before, _ = divided(BASE + first, seed)
    after, _ = divided(BASE + first + [one for one in then if one.sha256 not in known], seed)
    assert all(after[sha].side == one.side for sha, one in before.items() if sha in after)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(NEW, NEW)
def test_what_is_dated_stays_when_later_pictures_come(
    first: list[PictureRow], then: list[PictureRow]
) -> None:
    known = {one.sha256 for one in first}
    old = [replace(one, fetched="2025-01-01") for one in BASE + first]
    new = [replace(one, label="a", fetched="2026-01-01") for one in then if one.sha256 not in known]
    new = [one for one in new if not any(one.dhash == other.dhash for other in old)]
    before, _ = divided([one for one in old if one.label == "a"] + many("b", 1000))
    after, _ = divided([one for one in old if one.label == "a"] + new + many("b", 1000))
    assert all(replace(after[sha], near=one.near) == one for sha, one in before.items())


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(NEW)
def test_near_duplicates_are_on_one_side_and_under_one_label(new: list[PictureRow]) -> None:
    kept, out = divided(BASE + new)
    assert len(kept) + len(out) == len(BASE + new)
    bits = {sha: (int(one.dhash, 16), int(one.phash, 16)) for sha, one in kept.items()}
    for sha, (d, p) in bits.items():
        for other, (e, q) in bits.items():
            if (d ^ e).bit_count() <= 16 and (d ^ e).bit_count() + (p ^ q).bit_count() <= NEAR:
                assert (kept[sha].side, kept[sha].label) == (kept[other].side, kept[other].label)


@pytest.mark.slow
def test_shares_are_about_what_was_asked_for() -> None:
    kept, _ = divided(many("a", 0, 500) + many("b", 5000, 500), test_share=0.2, valid_share=0.1)
    counts = Counter(one.side for one in kept.values())
    assert abs(counts["test"] - 200) < 45 and abs(counts["valid"] - 100) < 35 and len(kept) == 1000


def test_the_same_pictures_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    places = collected(tmp_path / "in", BASE)
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        (tmp_path / name).mkdir()
        split(places, tmp_path / name, Division(seed), curation=None, on_progress=quiet)
    one, two, three = ((tmp_path / name / "manifest.csv").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


def test_files_are_linked_and_not_copied(tmp_path: Path) -> None:
    places = collected(tmp_path / "in", BASE)
    (tmp_path / "out").mkdir()
    split(places, tmp_path / "out", Division(0), curation=None, on_progress=quiet)
    assert {path.stat().st_nlink for path in (tmp_path / "out").glob("*/*/*")} == {2}


def test_one_file_under_two_labels_is_in_neither() -> None:
    kept, out = divided([*BASE, row(0, "b")])
    assert row(0).sha256 not in kept
    assert [(one.label, one.reason, one.detail) for one in out] == [
        ("a", "two-labels", "the same file is in a and b"),
        ("b", "two-labels", "the same file is in a and b"),
    ]


def test_near_duplicates_under_two_labels_are_in_neither() -> None:
    _, out = divided([*BASE, row(3000, "b", near=5)])
    assert [(one.sha256, one.reason) for one in out] == [
        (row(5).sha256, "two-labels"),
        (row(3000).sha256, "two-labels"),
    ]


def test_small_classes_have_something_on_every_side() -> None:
    for seed in range(20):
        kept, _ = divided(many("a", 0, 5) + many("b", 1000, 6), seed)
        counts = Counter((one.label, one.side) for one in kept.values())
        assert len(counts) == 6 and min(counts.values()) == 1


def test_too_small_a_class_is_an_error_with_counts() -> None:
    expected = r"'b' has 3 usable pictures: 1 train, 1 valid, 1 test \(2 two-labels are out\)\. Each class"
    with pytest.raises(TooFewPictures, match=expected):
        divided([*many("a", 0), *many("b", 1000, 3), row(0, "b"), row(1, "b")])
    with pytest.raises(TooFewPictures, match="a classifier needs at least 2"):
        divided(many("a", 0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_person_has_the_last_word(root: Path) -> None:
    curation.reject(root, [row(0).sha256])
    curation.relabel(root, "b", [row(1).sha256])
    curation.relabel(root, "tree", [row(2).sha256])
    curation.reject(root, [row(3).sha256])
    curation.restore(root, [row(3).sha256])
    curation.reject(root, [row(4).sha256])
    curation.relabel(root, "b", [row(4).sha256])
    kept, out = divided(BASE, curation=root / "curation.csv")
    assert kept[row(1).sha256].label == "b" and "/b/" in kept[row(1).sha256].file
    assert row(3).sha256 in kept and kept[row(4).sha256].label == "b"
    assert [(one.sha256, one.reason) for one in out] == [
        (row(0).sha256, "rejected"),
        (row(2).sha256, "relabelled"),
    ]


def test_a_copy_of_what_was_rejected_does_not_come_back(root: Path, tmp_path: Path) -> None:
    """What looks like a rejected picture was there, comes later, or is what a person spoke of."""
    (tmp_path / "rejected.jpg").write_bytes(picture(5, 128))
    curation.reject(root, [tmp_path / "rejected.jpg"])
    when = next(iter(decisions.read_curation(root / "curation.csv").rejected_hashes.values()))
    (tmp_path / "again.jpg").write_bytes(picture(5, 300))
    found = [examine_file(tmp_path / name, "", "bing") for name in ("again.jpg", "rejected.jpg")]
    assert found[0].sha256 != found[1].sha256
    again = replace(found[0], file="pictures/again.jpg", label="a")

    def fetched(when: str | None) -> tuple[bool, list[Excluded]]:
        kept, out = divided([*BASE, replace(again, fetched=when)], curation=root / "curation.csv")
        return again.sha256 in kept, out

    assert fetched(when) == (True, []) and fetched(None) == (True, [])
    stays, out = fetched("2999-01-01T00:00:00+00:00")
    assert not stays and [(one.sha256, one.reason) for one in out] == [(again.sha256, "rejected")]
    curation.keep(root, [again.sha256])
    assert fetched("2999-01-01T00:00:00+00:00") == (True, [])
    curation.restore(root, [again.sha256])
    assert not fetched("2999-01-01T00:00:00+00:00")[0]
    curation.restore(root, [tmp_path / "rejected.jpg"])
    assert fetched("2999-01-01T00:00:00+00:00") == (True, [])


@pytest.mark.parametrize("newest", ["2020-01-01T00:00:00+00:00", "2998-01-01T00:00:00+00:00"])
def test_what_came_since_a_rejection_is_told_by_no_clock(root: Path, tmp_path: Path, newest: str) -> None:
    """It was ahead of, or behind, that by which pictures came."""
    collected(root / "DownloadImages", [replace(one, fetched=newest) for one in BASE])
    (tmp_path / "rejected.jpg").write_bytes(picture(5, 128))
    (tmp_path / "again.jpg").write_bytes(picture(5, 300))
    curation.reject(root, [tmp_path / "rejected.jpg"])
    again = replace(examine_file(tmp_path / "again.jpg", "", "bing"), file="pictures/again.jpg", label="a")
    for when, stays in ((newest, True), (newest.replace("01-01", "01-02"), False)):
        kept, _ = divided([*BASE, replace(again, fetched=when)], curation=root / "curation.csv")
        assert (again.sha256 in kept) == stays


def test_relabelling_settles_an_ambiguity(root: Path) -> None:
    curation.relabel(root, "b", [row(0).sha256])
    kept, out = divided([*BASE, row(0, "b")], curation=root / "curation.csv")
    assert kept[row(0).sha256].label == "b" and [one.reason for one in out] == ["duplicate"]


def test_pictures_added_by_hand_are_in(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(picture(7))
    curation.add(root, "a", tmp_path / "mine.jpg")
    (tmp_path / "out").mkdir()
    places = collected(tmp_path / "in", BASE)
    split(places, tmp_path / "out", Division(0), curation=root / "curation.csv", on_progress=quiet)
    with (tmp_path / "out/manifest.csv").open(newline="") as file:
        added = [one for one in csv.DictReader(file) if one["engine"] == "added"]
    assert [one["label"] for one in added] == ["a"]
    used = tmp_path / "out" / added[0]["file"]
    assert used.read_bytes() == picture(7)
    used.write_bytes(b"edited in place")
    assert next(root.glob("added/a/*")).read_bytes() == picture(7)


def test_what_was_added_and_taken_back_is_out_and_its_file_stays(root: Path, tmp_path: Path) -> None:
    """Also where the source `feedback` takes it from there; what was found elsewhere stays."""
    (tmp_path / "mine.jpg").write_bytes(picture(7))
    copy = curation.add(root, "a", tmp_path / "mine.jpg").copy
    sha = examine_file(copy, "", "added").sha256
    curation.restore(root, [copy])
    kept, out = divided(BASE, curation=root / "curation.csv")
    assert sha not in kept and copy.exists()
    assert [(one.sha256, one.reason) for one in out] == [(sha, "taken-back")]
    mine = replace(row(7), sha256=sha, file="pictures/mine.jpg")
    for engine, stays in (("feedback", False), ("bing", True)):
        kept, _ = divided(
            [*many("a", 20), *many("b", 1000), replace(mine, engine=engine)], curation=root / "curation.csv"
        )
        assert (sha in kept) == stays


def test_what_the_sources_refused_is_counted_and_named_wherever_the_folder_lies(tmp_path: Path) -> None:
    told = []
    for where in ("here", "a place elsewhere"):
        mine, places = tmp_path / where / "mine", {}
        for label, start in (("a", 0), ("b", 100)):
            (mine / label).mkdir(parents=True)
            for n in range(12):
                (mine / label / f"{n}.jpg").write_bytes(picture(start + n))
        (mine / "a/torn.jpg").write_bytes(picture(50)[:400])
        for n in range(4):
            (mine / f"a/note {n}.txt").write_text("no picture")
        (mine / "a/vast.jpg").write_bytes(picture(51) + bytes(21 << 20))
        (mine / "a/tiny.png").write_bytes(picture(52, 10))
        for label in "ab":
            places[label] = tmp_path / where / label
            places[label].mkdir()
            collect_from("folder", label, places[label], folder=mine)
        out = tmp_path / where / "out"
        out.mkdir()
        split(places, out, Division(0), curation=None, on_progress=quiet)
        told.append((out / "refused.json").read_bytes())
    assert told[0] == told[1]
    kinds = {kind["reason"]: kind for kind in json.loads(told[0])}
    assert {reason: kind["count"] for reason, kind in kinds.items()} == {
        "format": 4, "broken": 1, "too-large": 1, "too-small": 1,
    }  # fmt: skip
    assert {kind["label"] for kind in kinds.values()} == {"a"}
    assert [one["name"] for one in kinds["format"]["examples"]] == [f"a/note {n}.txt" for n in range(3)]


def test_what_an_address_did_not_give_is_no_part_of_the_data_set(tmp_path: Path) -> None:
    """It is another each time that a search is made, and nothing must be trained anew for it."""
    refusals = [
        Refusal("network", "no answer", "https://a.example/1.jpg"),
        Refusal("interrupted", "the search broke off"),
        Refusal("format", "no picture", "a/note.txt"),
    ]
    manifest.write_jsonl(tmp_path / "rejected.jsonl", refusals)
    assert [kind.reason for kind in cleaning.refused_files({"a": tmp_path})] == ["format"]


def test_numbers_are_spread_evenly() -> None:
    numbers = [own_number(PerceptualHash(f"{n:016x}", ""), 0) for n in range(2000)]
    assert all(abs(sum(n < edge for n in numbers) / 2000 - edge) < 0.04 for edge in (0.1, 0.3, 0.5, 0.8))
