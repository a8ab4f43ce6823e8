"""Visitors' verdicts: bounded, in folders of harmless names, and read though a line is torn."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from greenr_luigi import contracts
from greenr_luigi.pictures import door
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


def test_only_what_was_kept_here_is_removed(tmp_path: Path) -> None:
    """Not what a line of another origin names, nor a picture that a person has put in the place of a kept one."""
    feedback, mine = tmp_path / "feedback", tmp_path / "mine.jpg"
    mine.write_bytes(tiny_release.picture("green"))
    sha256 = door.sha256(mine.read_bytes())
    name = feedback_store.keep(feedback, tiny_release.picture("yellow"), "grass", "", "0" * 16)
    (kept,) = feedback_store.read(feedback)
    (feedback / "grass" / "mine.jpg").write_bytes(mine.read_bytes())
    rows = [
        {"file": file}
        for file in ("../mine.jpg", "grass/mine.jpg", str(mine), f"grass/../../{sha256[:16]}.jpg")
    ]
    rows += [{"file": "grass/../../mine.jpg", "sha256": "../../mine"}, {"label": "a\nb"}, {"label": "../.."}]
    rows += [{"file": f"{label}/{sha256[:16]}.jpg", "label": label} for label in ("linked", "link")]
    for row in rows:
        contracts.append_log(feedback / feedback_store.LOG, replace(kept, **{"sha256": sha256} | row))
    (tmp_path / f"{sha256[:16]}.jpg").write_bytes(mine.read_bytes())
    (feedback / "linked").symlink_to(tmp_path)
    (feedback / "link").mkdir()
    (feedback / "link" / f"{sha256[:16]}.jpg").symlink_to(mine)
    assert feedback_store.read(feedback) == [kept]
    (feedback / name).write_bytes(mine.read_bytes())
    feedback_store.remove_pictures(feedback, {sha256, kept.sha256, "../../mine"})
    theirs = [feedback / "grass" / "mine.jpg", feedback / name, mine, tmp_path / f"{sha256[:16]}.jpg"]
    assert all(path.read_bytes() == mine.read_bytes() for path in theirs)
    assert (feedback / "link" / f"{sha256[:16]}.jpg").is_symlink() and feedback_store.read(feedback) == []


@pytest.mark.parametrize("name", [feedback_store.LOG, "grass"])
def test_nothing_is_written_where_a_link_leads(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere.sh").write_text("mine\n")
    (tmp_path / "feedback").mkdir()
    target = "elsewhere" if name == "grass" else "elsewhere.sh"
    (tmp_path / "feedback" / name).symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="is a link"):
        feedback_store.keep(tmp_path / "feedback", tiny_release.picture("yellow"), "grass", "", "0" * 16)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "elsewhere.sh").read_text() == "mine\n"


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


def test_what_is_kept_is_counted_once_and_told_by_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever worker it was written, after a restart, and though the last line is torn."""
    counts, count = [], feedback_store.count
    monkeypatch.setattr(feedback_store, "count", lambda folder: (counts.append(1), count(folder))[1])

    def keep(side: int) -> None:
        feedback_store.keep(tmp_path, tiny_release.picture("yellow", side), "grass", "", "0" * 16)

    for side in (64, 64, 65, 66):
        keep(side)
    kept = feedback_store.read(tmp_path)[-1].kept
    assert kept == count(tmp_path) and kept.pictures == 3 and len(counts) == 1
    with (tmp_path / feedback_store.LOG).open("a") as log:
        log.write('{"file": "grass/a.jpg", "la')
    keep(67)
    assert feedback_store.read(tmp_path)[-1].kept == count(tmp_path) and len(counts) == 2
    # Full by the last line: what a person has removed meanwhile makes room.
    monkeypatch.setattr(feedback_store, "MOST_PICTURES", 4)
    before = (tmp_path / feedback_store.LOG).read_bytes()
    with pytest.raises(feedback_store.FeedbackFull):
        keep(68)
    assert (tmp_path / feedback_store.LOG).read_bytes() == before
    feedback_store.remove_pictures(tmp_path, {feedback_store.read(tmp_path)[0].sha256})
    keep(68)
    assert feedback_store.read(tmp_path)[-1].kept == count(tmp_path)


def test_many_workers_count_together(tmp_path: Path) -> None:
    def keep(side: int) -> None:
        feedback_store.keep(tmp_path, tiny_release.picture("yellow", side), "grass", "", "0" * 16)

    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(keep, range(40, 70)))
    rows = contracts.read_log(tmp_path / feedback_store.LOG, feedback_store.FeedbackRow)
    assert [row.kept.pictures for row in rows if row.kept] == [*range(1, 31)]
    assert rows[-1].kept == feedback_store.count(tmp_path)
