"""Each output has a number of its own, whatever became of the others."""

import shutil
from pathlib import Path

import pytest

from greenr_luigi.staleness import numbers
from greenr_luigi.staleness.stamp import Stamp
from tests.stamped import finish


def made(root: Path, stage: str, number: int) -> Path:
    link = finish(root, stage, number)
    stamp = Stamp.read(link)
    stamp.number = number
    stamp.write(link)
    return link


@pytest.fixture
def read(monkeypatch):
    """The outputs whose stamps were read."""
    outputs, number = [], numbers._number
    monkeypatch.setattr(numbers, "_number", lambda output: (outputs.append(output), number(output))[1])
    return outputs


def test_a_stamp_is_read_once(tmp_path, read):
    for number in range(1, 6):
        made(tmp_path, "Merge", number)
    assert numbers.following(tmp_path) == 6 and len(read) == 5
    assert numbers.following(tmp_path) == 6 and len(read) == 5
    made(tmp_path, "Read", 9)
    assert numbers.following(tmp_path) == 10 and len(read) == 6


def test_what_was_copied_moved_or_removed(tmp_path):
    root = tmp_path / "data"
    link = made(root, "Merge", 5)
    assert numbers.following(root) == 6
    # As `cp -rL` does.
    shutil.copytree(root, tmp_path / "copy", ignore=lambda folder, names: [n for n in names if n[0] == "."])
    assert numbers.following(tmp_path / "copy") == 6
    shutil.move(link.resolve(), tmp_path / "elsewhere")
    link.unlink()
    assert numbers.following(root) == 1
    link.symlink_to(tmp_path / "elsewhere")
    assert numbers.following(root) == 6


def test_one_that_is_being_made_counts_when_it_is_done(tmp_path):
    folder = made(tmp_path, "Merge", 3).resolve()
    stamp = (folder / "stamp.json").rename(tmp_path / "stamp.json")
    assert numbers.following(tmp_path) == 1
    stamp.rename(folder / "stamp.json")
    assert numbers.following(tmp_path) == 4
