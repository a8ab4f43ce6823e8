"""A person's own pictures."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_jsonl
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import SourceError
from greenr_luigi.staleness import traces
from tasks import DownloadImages
from tests.photographs import PHOTOS, needs_photos
from tests.sources.collecting import collect_from
from tests.sources.conftest import picture


def tree(path: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_nlink) for p in path.rglob("*") if p.is_file()}


def collected(folder: Path, label: str, out: Path, limit: int = 0) -> dict[str, int]:
    return collect_from("folder", label, out, limit, folder)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    for number in range(12):
        path = (
            tmp_path / "my pictures" / "wild grass" / ("deep/er" if number % 2 else ".") / f"{number:02d}.JPG"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    top = tmp_path / "my pictures" / "wild grass"
    (top / ".hidden.jpg").write_bytes(picture(50))
    (top / ".thumbnails").mkdir()
    (top / ".thumbnails/51.jpg").write_bytes(picture(51))
    (top / "notes.txt").write_text("bought in Kiel")
    (top / "again.jpg").write_bytes(picture(3))
    (top / "loop").symlink_to(top)
    (top / "nowhere.jpg").symlink_to("gone.jpg")
    (top / "myself.jpg").symlink_to("myself.jpg")
    os.mkfifo(top / "pipe.jpg")
    return tmp_path / "my pictures"


def test_takes_all_and_changes_nothing(mine: Path, tmp_path: Path) -> None:
    before = tree(mine)
    assert collected(mine, "wild grass", tmp_path / "out") == {"pictures": 12, "new": 12, "refused": 2}
    assert tree(mine) == before
    rows = read_jsonl(tmp_path / "out/manifest.jsonl", PictureRow)
    assert {row.file_url for row in rows} >= {"wild grass/00.JPG", "wild grass/deep/er/01.JPG"}
    assert {row.fetched for row in rows} == {None}
    refused = {row.reason: row.message for row in read_jsonl(tmp_path / "out/rejected.jsonl", Refusal)}
    assert refused.keys() == {"format", "duplicate"}
    assert refused["format"].startswith("this is a text, which is not read: ")


def test_what_is_collected_is_what_makes_the_stage_stale(mine: Path, tmp_path: Path) -> None:
    top = mine / "wild grass"
    (top / "12.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    (tmp_path / "elsewhere.jpg").write_bytes(picture(12))
    # No part of what a stage reads, whatever it is.
    (top / traces.STAMP).write_bytes(picture(14))
    before = traces.snapshot(top)
    assert {str(top / name) for name in before} == {
        str(top / name) for name in FileSet(top, top.name).names()
    }
    assert {"12.jpg", "deep/er/01.JPG"} <= before.keys() and len(before) == 15
    (top / ".DS_Store").write_text("")
    (top / "here").symlink_to(".")
    (top / "nowhere.jpg").unlink()
    assert traces.files_changed("folder", before, top) is None
    (tmp_path / "elsewhere.jpg").write_bytes(picture(13))
    assert traces.files_changed("folder", before, top) == "folder file 12.jpg was edited"
    (tmp_path / "elsewhere.jpg").unlink()
    assert traces.files_changed("folder", before, top) == "folder file 12.jpg is missing"


def test_the_folder_is_the_truth(mine: Path, tmp_path: Path) -> None:
    collected(mine, "wild grass", tmp_path / "one")
    (mine / "wild grass/00.JPG").unlink()
    assert collected(mine, "wild grass", tmp_path / "two")["pictures"] == 11
    collected(mine, "wild grass", tmp_path / "three")
    for name in ("manifest.jsonl", "rejected.jsonl"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()


def test_a_limit_holds(mine: Path, tmp_path: Path) -> None:
    assert collected(mine, "wild grass", tmp_path / "out", limit=5)["pictures"] == 5


@pytest.mark.parametrize(
    ("given", "limit", "expected"),
    [
        ({"train": 30, "valid": 6, "test": 4}, 20, {"train": 14, "valid": 3, "test": 3}),
        ({"train": 30, "val": 3, "test": 2}, 10, {"train": 8, "valid": 1, "test": 1}),
        ({"train": 12, "test": 30}, 14, {"train": 4, "test": 10}),
        ({"train": 3, "test": 30}, 33, {"train": 3, "test": 30}),
    ],
)
def test_a_limit_takes_some_of_each_side(
    tmp_path: Path, given: dict[str, int], limit: int, expected: dict[str, int]
) -> None:
    numbers = itertools.count()
    for side, count in given.items():
        for label in ("a", "b"):
            (folder := tmp_path / "mine" / side / label).mkdir(parents=True)
            for number in range(count if label == "a" else 1):
                (folder / f"{number:02}.jpg").write_bytes(picture(next(numbers)))
    collected(tmp_path / "mine", "a", tmp_path / "out", limit=limit)
    rows = read_jsonl(tmp_path / "out" / MANIFEST, PictureRow)
    assert Counter(row.given_side for row in rows) == expected
    assert all(
        sorted(names) == [f"{side}/a/{number:02}.jpg" for number in range(len(names))]
        for side in given
        if (names := [row.file_url or "" for row in rows if (row.file_url or "").startswith(side)])
    )


def test_finds_a_label_however_its_accents_are_stored(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / unicodedata.normalize("NFD", "Löwenzahn")
    folder.mkdir(parents=True)
    for number in range(10):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    assert (
        collected(tmp_path / "mine", unicodedata.normalize("NFC", "Löwenzahn"), tmp_path / "out")["pictures"]
        == 10
    )


def test_a_folder_under_another_spelling_goes_stale_with_its_pictures(tmp_path: Path) -> None:
    stored = {"Löwenzahn": unicodedata.normalize("NFD", "Löwenzahn"), "was?": "was?", "a/b": "a%2Fb"}
    for label, name in stored.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(picture(1))
        task = DownloadImages(
            label=label, source="folder", folder=tmp_path, limit=0, license="", refresh_days=30, root=tmp_path
        )
        assert task.reads() == {f"folder {label}": tmp_path / name}


def test_a_missing_folder_is_an_error_that_helps(mine: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no sub-folder 'Wild Gras'.*did you mean wild grass\?"):
        collected(mine, "Wild Gras", tmp_path / "a")
    with pytest.raises(SourceError, match="does not exist"):
        collected(mine / "nowhere", "wild grass", tmp_path / "b")
    with pytest.raises(SourceError, match="needs --folder"):
        collect_from("folder", "x", tmp_path / "b")
    (mine / "empty").mkdir()
    with pytest.raises(
        SourceError, match="brought no pictures of 'empty'; all were asked for and at least 10"
    ):
        collected(mine, "empty", tmp_path / "c")


def test_a_folder_of_tiny_pictures_is_an_error_that_names_min_side(tmp_path: Path) -> None:
    (tmp_path / "mine/seven").mkdir(parents=True)
    for number in range(10):
        Image.new("L", (28, 28 + number)).save(tmp_path / f"mine/seven/{number}.png")
    with pytest.raises(
        SourceError, match=r"Refused: 10 too-small, .*\. Each side needs 32 pixels: --min-side 8 takes"
    ):
        collected(tmp_path / "mine", "seven", tmp_path / "out")


def test_of_your_own_an_error_names_a_file_why_and_what_to_do(tmp_path: Path) -> None:
    """Who has a folder needs no search engine."""
    (tmp_path / "mine/seven").mkdir(parents=True)
    for number in range(10):
        (tmp_path / f"mine/seven/{number}.jpg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(SourceError) as refused:
        collected(tmp_path / "mine", "seven", tmp_path / "out")
    assert "10 format, such as seven/0.jpg: this is an SVG drawing" in str(refused.value)
    words = (
        f"Add pictures to {tmp_path / 'mine'}, or leave 'seven' out by naming the other classes in --classes"
    )
    assert str(refused.value).endswith(words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_listed(mine: Path, tmp_path: Path) -> None:
    (mine / "wild grass/00.JPG").chmod(0)
    assert collected(mine, "wild grass", tmp_path / "out")["pictures"] == 11


def test_a_file_name_need_be_no_text(mine: Path, tmp_path: Path) -> None:
    """As Latin-1 is none, of which archives from other systems are full."""
    for number, data in ((2, picture(99)), (3, b"no picture")):
        (mine / "wild grass" / os.fsdecode(b"gr\xfcn %d" % number)).write_bytes(data)
    task = DownloadImages(
        label="wild grass",
        source="folder",
        folder=mine,
        limit=0,
        license="",
        refresh_days=30,
        root=tmp_path / "data",
    )
    task.run()
    assert task.complete()
    rows = read_jsonl(task.output_folder / MANIFEST, PictureRow)
    assert "wild grass/gr\\xfcn 2" in {row.file_url for row in rows}
    refused = read_jsonl(task.output_folder / REJECTED, Refusal)
    assert "wild grass/gr\\xfcn 3" in {refusal.file_url for refusal in refused}


@needs_photos
def test_the_photographs(tmp_path: Path) -> None:
    assert collected(PHOTOS, "dandelion", tmp_path / "out")["pictures"] == 150


def test_feedback_is_a_folder_too(mine: Path, tmp_path: Path) -> None:
    mine.rename(tmp_path / "added")
    collect_from("feedback", "wild grass", tmp_path / "out", root=tmp_path)
    rows = read_jsonl(tmp_path / "out" / "manifest.jsonl", PictureRow)
    assert {row.engine for row in rows} == {"feedback"}
    with pytest.raises(SourceError, match=r"nothing has been kept as 'was\?'.*`greenr review`"):
        collect_from("feedback", "was?", tmp_path / "none", root=tmp_path)


@pytest.mark.parametrize("label", ["/", "..", ".", "//", "../.."])
def test_a_label_never_leads_out_of_the_folder(label: str, mine: Path, tmp_path: Path) -> None:
    """A class called `/` would have had the whole disk read and hashed."""
    task = DownloadImages(
        root=tmp_path, source="folder", folder=mine, limit=0, license="", refresh_days=1, label=label
    )
    assert all(mine in path.resolve().parents for path in task.reads().values())
    with pytest.raises(SourceError, match="has no sub-folder"):
        collect_from("folder", label, tmp_path / "out", folder=mine)
