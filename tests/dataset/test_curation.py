"""What a person does about pictures, and how they may name them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from greenr_luigi import cli, files
from greenr_luigi.dataset import curation, decisions
from greenr_luigi.dataset.decisions import CurationError
from greenr_luigi.operations import last_run
from greenr_luigi.pictures import door
from greenr_luigi.pictures.hashing import HASHED_SIDE, perceptual_hash
from greenr_luigi.pictures.manifest import PictureRow, write_jsonl
from tests.sources.conftest import picture

A, B = "a" * 64, "b" * 64


def test_a_picture_may_be_named_by_file_and_by_digits(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    sha = door.sha256(picture(1))
    place = tmp_path / "data/DownloadImages/grass-0"
    place.mkdir(parents=True)
    row = PictureRow("pictures/x.jpg", "grass", sha, A[:16], 64, 64, 1, "bing", phash=A[:44])
    write_jsonl(place / "manifest.jsonl", [row])
    items = [tmp_path / "x.jpg", sha, sha[:16], f"train/grass/{sha[:16]}.jpg"]
    lines = curation.reject(tmp_path / "data", items).splitlines()
    assert [line.split(",")[1] for line in lines] == [sha] * 4
    hashes = set(decisions.read_curation(tmp_path / "data" / "curation.csv").rejected_hashes)
    assert hashes == {(A[:16], A[:44])}
    curation.reject(tmp_path / "data", items[:1])
    assert set(decisions.read_curation(tmp_path / "data" / "curation.csv").rejected_hashes) == {
        perceptual_hash(door.open_picture(picture(1), at_least=HASHED_SIDE))
    }


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("nowhere.jpg", "nowhere.jpg is no file and no sha256"),
        ("abc", "abc is no file and no sha256"),
        ("0123456789abcdef", "0123456789abcdef names 0 of the 0 pictures"),
    ],
)
def test_a_picture_that_is_not_there_is_an_error(tmp_path: Path, item: str, says: str) -> None:
    with pytest.raises(CurationError, match=says):
        curation.reject(tmp_path, [item])
    assert not (tmp_path / "curation.csv").exists()


def test_added_pictures_lie_in_a_folder_of_the_person(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(picture(1))
    copy = curation.add(tmp_path / "data", "a/b", tmp_path / "x.png").copy
    assert copy.parent == tmp_path / "data/added/a%2Fb" and copy.suffix == ".jpg"
    assert decisions.added_files(tmp_path / "data", "a/b") == [copy] and copy.read_bytes() == picture(1)
    (tmp_path / "x.txt").write_text("no picture")
    with pytest.raises(door.UnusablePicture):
        curation.add(tmp_path / "data", "a/b", tmp_path / "x.txt")


def test_a_command_notes_all_of_its_pictures_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    (tmp_path / "x.txt").write_text("no picture")
    files = [str(tmp_path / "x.jpg"), str(tmp_path / "x.txt")]
    for command in (["add", "grass"], ["reject"], ["relabel", "grass"]):
        wrong = files if command[0] == "add" else [files[0], "nowhere.jpg"]
        assert cli.main(["--root", str(tmp_path / "data"), *command, *wrong]) == 1
        assert capsys.readouterr().err
        assert not (tmp_path / "data").exists()


def test_a_picture_is_added_with_its_line_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the line is to be written."""
    (tmp_path / "x.jpg").write_bytes(picture(1))
    write = files.write

    def full(path: Path, data: bytes, read_back: bool = False) -> None:
        if path.name == decisions.FILE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data, read_back)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(OSError, match="No space"):
            curation.add(tmp_path, "a", tmp_path / "x.jpg")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "x.jpg"]
    copy = curation.add(tmp_path, "a", tmp_path / "x.jpg").copy
    # One that lay there before stays.
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(OSError, match="No space"):
            curation.add(tmp_path, "a", tmp_path / "x.jpg")
    assert copy.read_bytes() == picture(1)


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root under which a model of three classes was judged, and a picture beside it."""
    (tmp_path / "x.jpg").write_bytes(picture(1))
    monkeypatch.setattr(last_run, "classes", lambda *_: ["gräser", "grass", "wild rose"])
    monkeypatch.setattr(last_run, "command_to_run_again", lambda *_: "luigi")
    return tmp_path / "data"


@pytest.mark.parametrize("action", ["relabel", "add"])
def test_a_label_that_no_run_knows_is_refused(
    ran: Path, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    x = str(ran.parent / "x.jpg")
    for label, words in (
        ("gras", "did you mean grass?"),
        ("lawn", "expected one of gräser, grass, wild rose"),
    ):
        assert cli.main(["--root", str(ran), action, label, x]) == 1
        told = capsys.readouterr().err
        assert f"{label!r} is no class of the last run (--new if the next one brings it in): {words}" in told
        assert not ran.exists()
    assert cli.main(["--root", str(ran), action, "--new", "lawn", x]) == 0
    assert cli.main(["--root", str(ran), action, " gra\u0308ser ", x]) == 0
    lines = (ran / "curation.csv").read_text()
    assert "lawn" in lines and ",gräser," in lines
    assert "taken as it is" not in capsys.readouterr().out


def test_before_the_first_model_a_label_is_taken_as_it_is_and_told_so(
    ran: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(last_run, "classes", lambda *_: None)
    assert cli.main(["--root", str(ran), "relabel", "lawn", str(ran.parent / "x.jpg")]) == 0
    assert "'lawn' is taken as it is" in capsys.readouterr().out
    assert cli.main(["--root", str(ran), "relabel", " ", str(ran.parent / "x.jpg")]) == 1
    assert "the label '' is empty" in capsys.readouterr().err


def test_restoring_an_added_picture_takes_back_the_last_word_first(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    sha = door.sha256(picture(1))

    def withdrawn() -> bool:
        return sha in decisions.read_curation(tmp_path / "curation.csv").withdrawn

    curation.restore(tmp_path, [sha])
    assert not withdrawn()
    copy = curation.add(tmp_path, "a", tmp_path / "x.jpg").copy
    curation.reject(tmp_path, [copy])
    curation.restore(tmp_path, [copy])
    assert not withdrawn()
    curation.restore(tmp_path, [copy])
    assert withdrawn() and copy.exists()
    curation.keep(tmp_path, [copy])
    assert not withdrawn()
    curation.restore(tmp_path, [copy])
    assert not withdrawn()
    curation.restore(tmp_path, [copy])
    assert withdrawn()
    curation.add(tmp_path, "a", tmp_path / "x.jpg")
    assert not withdrawn()
