"""Which held-out pictures a model knows that was made from another split of the same pictures."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi.dataset.cleaning import NearDuplicates, Picture
from greenr_luigi.dataset.rows import Excluded, SplitRow, read_manifest
from greenr_luigi.dataset.split import Division, split
from greenr_luigi.deployment.gate import learned_alike
from greenr_luigi.deployment.provenance import provenance_of
from greenr_luigi.pictures import manifest
from greenr_luigi.pictures.manifest import PictureRow
from tests.dataset.test_sides import ROWS
from tests.dataset.test_split import collected, many
from tests.progress import quiet

#: Of one and the same pictures: our own split, by another seed, by groups, and the one that is given.
WAYS = [
    Division(0, keep_given=False),
    Division(1, keep_given=False),
    Division(0, keep_given=False, group=r"(\w+)#"),
    Division(0, keep_given=True),
]


def divided(rows: list[PictureRow], out: Path, way: Division) -> Path:
    out.mkdir()
    split(collected(out.parent / "in", rows), out, way, curation=None, on_progress=quiet)
    return out


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(ROWS, st.sampled_from(WAYS), st.sampled_from(WAYS))
def test_none_is_left_to_compare_on_that_looks_like_or_belongs_to_what_was_learned(
    rows: list[PictureRow], before: Division, now: Division
) -> None:
    rows = [replace(one, label="a", file_url=one.group and f"{one.group}#", group=None) for one in rows]
    rows += [replace(one, file_url=f"a{n % 9}#", given_side="test" if n % 5 == 0 else "train")
             for n, one in enumerate(many("a", 5000) + many("b", 6000))]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        first = divided(rows, Path(folder, "one"), before)
        then = divided(rows, Path(folder, "two"), now)
        learned = {*(provenance_of(read_manifest(first)).learned_from or ())}
        held_out = [row for row in read_manifest(then) if row.side == "test"]
        known = learned_alike(then, learned)
    near = NearDuplicates([Picture(one, Path()) for one in rows]).of
    groups = {one.sha256: one.file_url for one in rows} if now.group else {}
    for one in held_out:
        if one.file in known:
            continue
        for other in rows:
            if other.sha256[:16] in learned:
                assert other.perceptual_hash not in (one.perceptual_hash, *near[one.perceptual_hash])
                assert one.file_url is None or groups.get(other.sha256, "") != one.file_url


def test_a_group_of_which_any_was_learned_and_a_look_that_was_are_known(tmp_path: Path) -> None:
    pictures = {
        name: replace(one, file=f"{side}/{one.sha256[:16]}.jpg", group=group)
        for one, (name, side, group) in zip(many("a", 0, 6), [
            ("learned", "train", "walk"), ("of its group", "test", "walk"), ("alone", "test", None),
            ("of a group left out", "test", "run"), ("alike", "test", None), ("left out", "", "run"),
        ], strict=True)
    }  # fmt: skip
    rows = {
        name: SplitRow(
            **vars(one), side=one.file.partition("/")[0], near="f" * 16 if name == "alike" else None
        )
        for name, one in pictures.items()
    }
    out = rows.pop("left out")
    manifest.write_csv(tmp_path / "manifest.csv", rows.values(), SplitRow)
    excluded = Excluded("pictures/x.jpg", "a", out.sha256, "group", "", out.group)
    manifest.write_csv(tmp_path / "excluded.csv", [excluded], Excluded)

    def known(*learned: str) -> set[str]:
        files = learned_alike(tmp_path, {*learned})
        return {name for name, one in rows.items() if one.file in files}

    assert known() == set()
    assert known(rows["learned"].sha256[:16]) == {"learned", "of its group"}
    assert known(out.sha256[:16]) == {"of a group left out"}
    assert known("f" * 16) == {"alike"}
    assert known(rows["alone"].sha256[:16]) == {"alone"}
