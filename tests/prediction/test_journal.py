"""What the next run takes over from one that was ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from greenr_luigi.operations.prune import prune
from greenr_luigi.prediction import journal
from greenr_luigi.prediction.inputs import Input
from greenr_luigi.prediction.journal import Journal, left, seen
from greenr_luigi.prediction.rows import Found, Row, refused
from greenr_luigi.staleness import data_root

RELEASE, OTHER = "0" * 16, "1" * 16


def found(path: str, of: Input | None = None) -> Found:
    return Found(Row(path, "grass", 0.9, None, None, RELEASE, {"grass": 0.9}), seen(of) if of else (0, 0))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Input]]:
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        Path(name).write_text(name)
    yield [Input(name, name) for name in "abcd"]


def said(words: str) -> None:
    raise AssertionError(words)


def opened(release: str = RELEASE) -> Journal:
    return Journal(Path(), Path("f"), release, said)


def known(files: Sequence[Input], release: str = RELEASE) -> str:
    """The names of those that are known."""
    with opened(release) as kept:
        return "".join(given.path for given, before in kept.known(files) if before)


def keep(files: Sequence[Input]) -> None:
    with opened() as kept:
        for _ in kept.known(files):
            pass
        for given in files:
            kept.note(found(given.path, given))


def test_what_a_run_has_found_the_next_one_knows_until_one_comes_to_its_end(files: list[Input]) -> None:
    keep(files[:2])
    assert known(files) == "ab"
    keep(files[2:])
    assert known(files) == "abcd" == known(files)
    with opened() as kept:
        assert [before.row for _, before in kept.known(files) if before] == [
            found(name).row for name in "abcd"
        ]
        kept.end()
    assert known(files) == ""


def test_nothing_is_known_of_what_has_changed_vanished_or_is_new(files: list[Input]) -> None:
    keep(files[:3])
    Path("b").write_text("other")
    assert known(files) == "ac"
    Path("c").unlink()
    assert known([files[0], Input("aa", "d"), *files[2:]]) == "a"


def test_what_another_release_has_found_is_forgotten(files: list[Input]) -> None:
    keep(files)
    assert known(files, OTHER) == known(files, RELEASE) == ""


def test_what_may_be_otherwise_next_time_is_not_kept(files: list[Input]) -> None:
    with opened() as kept:
        kept.note(Found(refused("a", "unreadable", "", RELEASE)))
        kept.note(found("b", files[1]))
    assert known(files) == "b"


def test_a_line_that_was_left_half_written_costs_that_line_alone(files: list[Input]) -> None:
    keep(files[:2])
    (path,) = left(Path())
    path.write_bytes(path.read_bytes()[:-20])
    keep(files[2:])
    assert known(files) == "acd"


def test_the_second_of_two_at_the_same_time_goes_without(files: list[Input]) -> None:
    with opened() as first:
        words: list[str] = []
        with Journal(Path(), Path("f"), RELEASE, words.append) as second:
            second.note(found("a", files[0]))
            second.end()
        first.note(found("b", files[1]))
    assert known(files) == "b"
    assert len(words) == 1 and words[0].endswith(": if this run is ended early, the next one begins anew")


@pytest.mark.parametrize("place", ["predicting", "predicting/x"])
def test_where_it_cannot_be_kept_that_is_said_and_no_more(place: str, files: list[Input]) -> None:
    with opened() as kept:
        name = kept.path
        kept.end()
    name.parent.rmdir()
    Path(place).parent.mkdir(exist_ok=True)
    if place == "predicting":
        Path(place).write_text("a file")
    else:
        name.mkdir()
    words: list[str] = []
    with Journal(Path(), Path("f"), RELEASE, words.append) as kept:
        assert [before for _, before in kept.known(files)] == [None] * 4
        kept.note(found("a", files[0]))
        kept.end()
    assert len(words) == 1


def test_a_full_disk_ends_the_journal_and_not_the_run(
    files: list[Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []
    with Journal(Path(), Path("f"), RELEASE, words.append) as kept:
        monkeypatch.setattr(os, "write", lambda descriptor, line: 1)
        kept.note(found("a", files[0]))
        kept.note(found("b", files[1]))
    assert len(words) == 1 and "No space left on device" in words[0]


def test_prune_removes_what_killed_runs_left(files: list[Input]) -> None:
    root = Path("data").absolute()
    data_root.mark(root)
    with Journal(root, Path("f"), RELEASE, said) as kept:
        kept.note(found("a", files[0]))
    (root / "predicting" / "mine.jsonl").touch()
    prune(root, 2)
    assert [path.name for path in (root / "predicting").iterdir()] == ["mine.jsonl"]


@hypothesis_given(
    st.lists(st.sampled_from("abcdefgh")), st.lists(st.sampled_from("abcdefgh")), st.integers(1, 4)
)
def test_whatever_came_and_went_each_is_known_as_itself_or_not_at_all(
    before: list[str], now: list[str], window: int
) -> None:
    kept = object.__new__(Journal)
    journal_window = journal.WINDOW
    kept._rows = lambda: iter([found(name) for name in before])  # type: ignore[method-assign]
    journal.WINDOW = window
    try:
        asked = [Input(name, f"http://{name}") for name in now]
        pairs = list(kept.known(asked))
    finally:
        journal.WINDOW = journal_window
    assert [given for given, _ in pairs] == asked
    assert all(known is None or known.row.path == given.path for given, known in pairs)
    if before == now == sorted(set(now)):
        assert all(known for _, known in pairs)
