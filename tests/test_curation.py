"""What a person does about pictures, and how they may name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from greenr_luigi import curation, decisions, hashing, pictures
from greenr_luigi.decisions import CurationError
from tests.sources.conftest import picture

A, B = "a" * 64, "b" * 64


def test_a_picture_may_be_named_by_file_and_by_digits(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    sha = pictures.sha256(picture(1))
    place = tmp_path / "data/DownloadImages/grass-0"
    place.mkdir(parents=True)
    row = {"file": "pictures/x.jpg", "sha256": sha, "dhash": A[:16], "phash": A[:44]}
    (place / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    items = [tmp_path / "x.jpg", sha, sha[:16], f"train/grass/{sha[:16]}.jpg"]
    assert curation.reject(tmp_path / "data", items) == [sha] * 4
    looks = set(decisions.read(tmp_path / "data" / "curation.csv").looks)
    assert looks == {(A[:16], A[:44])}
    curation.reject(tmp_path / "data", items[:1])
    assert set(decisions.read(tmp_path / "data" / "curation.csv").looks) == {hashing.look(picture(1))}


@pytest.mark.parametrize("item", ["nowhere.jpg", "0123456789abcdef", "abc"])
def test_a_picture_that_is_not_there_is_an_error(tmp_path: Path, item: str) -> None:
    with pytest.raises(CurationError, match=r"is no file and no sha256|names 0 of the 0 pictures"):
        curation.reject(tmp_path, [item])
    assert not (tmp_path / "curation.csv").exists()


def test_added_pictures_lie_in_a_folder_of_the_person(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(picture(1))
    copy = curation.add(tmp_path / "data", "a/b", tmp_path / "x.png")
    assert copy.parent == tmp_path / "data/added/a%2Fb" and copy.suffix == ".jpg"
    assert decisions.added(tmp_path / "data", "a/b") == [copy] and copy.read_bytes() == picture(1)
    (tmp_path / "x.txt").write_text("no picture")
    with pytest.raises(pictures.UnusablePicture):
        curation.add(tmp_path / "data", "a/b", tmp_path / "x.txt")
