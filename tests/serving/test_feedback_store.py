"""Visitors' verdicts: bounded, in folders of harmless names, and read though a line is torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenr_luigi.pictures.door import UnusablePicture
from greenr_luigi.serving import feedback_store
from tests import tiny_release


def test_a_picture_is_kept_once_and_every_verdict_has_its_line(tmp_path: Path) -> None:
    data = tiny_release.picture("yellow")
    names = {feedback_store.keep(tmp_path, data, "grass", predicted, "0" * 16) for predicted in ("", "grass")}
    (name,) = names
    assert (tmp_path / name).read_bytes() == data
    with (tmp_path / feedback_store.LOG).open("a") as log:
        log.write('{"file": "grass/a.jpg", "la')
    feedback_store.keep(tmp_path, data, "grass", "after a torn line", "0" * 16)
    assert [row.predicted for row in feedback_store.read(tmp_path)] == ["", "grass", "after a torn line"]
    feedback_store.remove_pictures(tmp_path, {"another"})
    row, *_ = feedback_store.read(tmp_path)
    feedback_store.remove_pictures(tmp_path, {row.sha256})
    assert feedback_store.read(tmp_path) == [] and not (tmp_path / name).exists()


def test_what_is_no_picture_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnusablePicture):
        feedback_store.keep(tmp_path, b"none", "grass", "", "")
    assert list(tmp_path.iterdir()) == []


def test_lines_take_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_store, "MOST_BYTES", 2000)
    data = tiny_release.picture("yellow")
    with pytest.raises(feedback_store.FeedbackFull):
        for _ in range(20):
            feedback_store.keep(tmp_path, data, "grass", "", "")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("grass", "grass"),
        ("../x", "%2E.%2Fx"),
        (".hidden", "%2Ehidden"),
        ("%none", "%25none"),
        ("", "%none"),
        ("été au lait", "été au lait"),
        ("100 %", "100 %25"),
    ],
)
def test_labels_become_harmless_folders(label: str, name: str) -> None:
    assert feedback_store.label_folder(label) == name
