"""Parts of a folder's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from greenr_luigi.staleness import listing, traces
from greenr_luigi.staleness.listing import Part
from tests.noted import noted


def filled(folder: Path, files: int) -> Path:
    """With so many files and one more, and with what is no file of its own."""
    for number in range(files):
        path = folder / f"{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (folder / ".hidden").touch()
    (folder / traces.STAMP).touch()
    (folder / "nowhere").symlink_to("nothing")
    (folder / "circle").symlink_to(folder)
    (folder / os.fsdecode(b"\xff")).touch()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path, 80)


def test_each_file_falls_to_one_part_and_the_parts_are_about_alike(tmp_path: Path) -> None:
    folder = filled(tmp_path, 800)
    parts = [dict(traces.walk(Part(folder, number, 8))) for number in range(8)]
    together = [name for part in parts for name in part]
    assert sorted(together) == sorted(name for name, _ in traces.walk(folder)) and len(together) == 801
    assert all(60 < len(part) < 140 for part in parts)
    # Twice as many parts divide each in two.
    finer = [{*Part(folder, number, 16).names()} for number in range(16)]
    assert {*Part(folder, 3, 8).names()} == finer[3] | finer[11]


def test_of_a_part_that_changes_it_is_told_which_file(folder: Path) -> None:
    part = Part(folder, 3, 8)
    recorded = traces.snapshot(part)
    first, *_ = recorded
    others = [Part(folder, number, 8) for number in range(8) if number != 3]
    before = [traces.snapshot(other) for other in others]
    (folder / first).write_bytes(b"x")
    assert traces.files_changed("pictures", recorded, part) == f"pictures file {first} was edited"
    (folder / first).unlink()
    assert traces.files_changed("pictures", recorded, part) == f"pictures file {first} is missing"
    assert traces.files_changed("pictures", {}, part) is not None
    assert [traces.files_changed("pictures", *pair) for pair in zip(before, others, strict=True)] == [
        None
    ] * 7


def test_a_listing_is_remembered_until_a_folder_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "QUICK", -1)
    monkeypatch.setattr(listing, "SETTLED_NS", -1_000_000_000)
    monkeypatch.setattr(listing, "_listings", {})
    names, listed = listing.names, noted(monkeypatch, listing, "names")
    for number in range(8):
        Part(folder, number, 8).names()
    assert listing.count(folder) == 82 and listed == [folder]
    os.utime(folder / "1", ns=(1, 1))
    for change in (
        (folder / "2" / "more.jpg").touch,
        (folder / "1" / "1.jpg").unlink,
        (folder / "new").mkdir,
    ):
        change()
        listed.clear()
        assert listing.count(folder) == len([*names(folder)]) and listed == [folder]
    assert listing.count(folder / "not there") == 0


@pytest.mark.parametrize("old", [False, True])
def test_a_listing_is_not_remembered_past_a_change_that_leaves_the_time_as_it_was(
    old: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in the same tick of the clock does, and a program that copies times, too."""
    monkeypatch.setattr(listing, "QUICK", -1)
    monkeypatch.setattr(listing, "_listings", {})
    if old:
        monkeypatch.setattr(listing, "SETTLED_NS", -1_000_000_000)
    before, status = listing.count(folder), (folder / "2").stat()
    assert bool(listing._listings) is old
    while (folder / "2").stat().st_ctime_ns == status.st_ctime_ns:
        (folder / "2" / "more.jpg").touch()
        os.utime(folder / "2", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert listing.count(folder) == before + 1
