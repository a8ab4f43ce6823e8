"""What the history of a release store tells: the way back, and what a person went back from."""

from __future__ import annotations

from pathlib import Path

from greenr_luigi.serving import history
from greenr_luigi.serving.history import Entry


def write(store: Path, *changes: tuple[str, history.Reason]) -> Path:
    for digest, why in changes:
        history.append(store, Entry(digest, why))
    return store


def test_the_way_back_skips_what_was_left(tmp_path: Path) -> None:
    assert history.way_back(tmp_path) == []
    write(tmp_path, ("a", "deploy"), ("b", "deploy"), ("b", "deploy"), ("c", "deploy"), ("b", "rollback"))
    assert history.way_back(tmp_path) == ["b", "a"]
    write(tmp_path, ("d", "deploy"), ("b", "failed"))
    assert history.way_back(tmp_path) == ["b", "a"]


def test_what_a_person_went_back_from_is_known(tmp_path: Path) -> None:
    write(tmp_path, ("a", "deploy"), ("b", "deploy"), ("a", "failed"))
    assert history.left(tmp_path) == set()
    write(tmp_path, ("b", "deploy"), ("a", "rollback"))
    assert history.left(tmp_path) == {"b"}
    write(tmp_path, ("b", "deploy"))
    assert history.left(tmp_path) == set()


def test_a_rollback_holds_until_another_release_has_come(tmp_path: Path) -> None:
    write(tmp_path, ("a", "deploy"), ("b", "deploy"), ("c", "deploy"), ("b", "rollback"), ("a", "rollback"))
    assert history.left(tmp_path) == {"b", "c"}
    write(tmp_path, ("d", "deploy"), ("a", "failed"))
    assert "b" in history.left(tmp_path)
    write(tmp_path, ("d", "deploy"))
    assert history.left(tmp_path) == set()


def test_older_lines_and_torn_ones_are_read_past(tmp_path: Path) -> None:
    (tmp_path / history.FILE).write_text('{"digest": "a"}\n{"why": "deploy"}\n{"digest": "ha')
    assert history.way_back(tmp_path) == ["a"]
    write(tmp_path, ("b", "deploy"))
    assert history.way_back(tmp_path) == ["b", "a"]
