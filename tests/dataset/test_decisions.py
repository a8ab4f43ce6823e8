"""A person's decisions: kept, understood however they were typed, and never lost."""

from __future__ import annotations

import re
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from greenr_luigi.dataset import curation, decisions
from greenr_luigi.dataset.decisions import CurationError
from greenr_luigi.pictures import door
from greenr_luigi.pictures.hashing import HASHED_SIDE, perceptual_hash
from greenr_luigi.pictures.labels import LabelError, folder_name
from tests.sources.conftest import picture

A, B = "a" * 64, "b" * 64


def test_no_file_is_no_decision(tmp_path: Path) -> None:
    assert decisions.read_curation(tmp_path / "curation.csv") == decisions.Curation()


def test_later_decisions_overrule(tmp_path: Path) -> None:
    curation.reject(tmp_path, [A, B])
    curation.relabel(tmp_path, "wild grass, dry", [A])
    curation.restore(tmp_path, [B])
    found = decisions.read_curation(tmp_path / "curation.csv")
    assert not found.rejected and found.relabelled == {A: "wild grass, dry"}
    assert found.confirmed == {A} and not found.rejected_hashes


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(decisions.ACTIONS), st.sampled_from([A, B])), min_size=1))
def test_of_each_picture_the_last_line_holds(said: list[tuple[str, str]]) -> None:
    """But `restore` takes back what was said since a picture was added before it takes back that it was."""
    with tempfile.TemporaryDirectory() as folder:
        lines = [
            {"action": action, "sha256": sha256, "to": "grass" * (action == "relabel")}
            for action, sha256 in said
        ]
        decisions.append(
            Path(folder), [line | {"look": "1" * 60 * (line["action"] == "reject")} for line in lines]
        )
        found = decisions.read_curation(Path(folder, "curation.csv"))
    last = {sha256: action for action, sha256 in said}
    by_action = {action: {one for one in last if last[one] == action} for action in decisions.ACTIONS}
    assert (found.rejected, found.kept) == (by_action["reject"], by_action["keep"])
    assert found.relabelled == dict.fromkeys(by_action["relabel"], "grass")
    assert (
        found.confirmed
        == found.decided - found.rejected
        == by_action["relabel"] | by_action["keep"] | by_action["add"]
    )
    assert bool(found.rejected_hashes) == bool(found.rejected)
    assert found.withdrawn <= by_action["restore"] | by_action["reject"]


def test_a_file_of_before_looks_goes_on_with_them(tmp_path: Path) -> None:
    old = f"action,sha256,label,to,when,comment\nreject,{A},,,2026-01-01T00:00:00+00:00,blurred\n"
    (tmp_path / "curation.csv").write_text(old)
    (tmp_path / "x.jpg").write_bytes(picture(1))
    for _ in range(2):
        curation.reject(tmp_path, [tmp_path / "x.jpg"])
    lines = (tmp_path / "curation.csv").read_text()
    assert lines.startswith(old) and lines.count("action") == 2
    found = decisions.read_curation(tmp_path / "curation.csv")
    assert len(found.rejected) == 2 and set(found.rejected_hashes) == {
        perceptual_hash(door.open_picture(picture(1), at_least=HASHED_SIDE))
    }
    curation.restore(tmp_path, [tmp_path / "x.jpg"])
    assert decisions.read_curation(tmp_path / "curation.csv") == decisions.Curation({A}, decided={A})


def test_hand_edited_lines_are_understood_and_kept(tmp_path: Path) -> None:
    text = f"\ufeff# mine\r\nto, action ,sha256\r\n\r\n,REJECT, {A.upper()} \r\n dry grass ,relabel,{B}"
    path = tmp_path / "curation.csv"
    path.write_bytes(text.encode())
    found = decisions.read_curation(path)
    assert (found.rejected, found.relabelled) == ({A}, {B: "dry grass"})
    curation.restore(tmp_path, [A])
    assert path.read_bytes().startswith(text.encode())
    found = decisions.read_curation(path)
    assert (found.rejected, found.relabelled) == (frozenset(), {B: "dry grass"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"rejct,{A}", r"line 3: there is no action 'rejct': did you mean reject\?"),
        ("reject,abc", "line 3: the sha256 is 'abc'; expected 64 hex digits"),
        (f"relabel,{A},grass", "line 3: relabel without a label"),
        (f"reject;{A}", "line 3: 1 cells in .*separated by commas"),
        (f"reject,{A},,,,,xyz", "line 3: the look is 'xyz'; expected 60 hex digits"),
        ("action,sha", "line 3: there is no column 'sha'"),
    ],
)
def test_what_cannot_be_understood_is_an_error_that_says_where(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "curation.csv"
    path.write_text(f"action,sha256,label,to,when,comment,look\nreject,{B}\n{line}\n")
    with pytest.raises(CurationError, match=words):
        decisions.read_curation(path)
    before = path.read_bytes()
    with pytest.raises(CurationError, match=words):
        curation.reject(tmp_path, [B])
    assert path.read_bytes() == before


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    shas = [f"{n:064x}" for n in range(24)]
    writers = [threading.Thread(target=curation.reject, args=(tmp_path, [sha])) for sha in shas]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert decisions.read_curation(tmp_path / "curation.csv").rejected == set(shas)
    assert [path.name for path in tmp_path.iterdir()] == ["curation.csv"]


HEADERS = st.sampled_from(
    [
        b"",
        b"action,sha256\n",
        b"\xef\xbb\xbfaction,sha256,label,to,when,comment\n",
        b"to,label,action,sha256,when,comment,look\r\n",
        f"label,to,sha256,action\n# mine\n,,{B},reject".encode(),
    ]
)


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=20), HEADERS)
@example("action", b"")
@example("sha256,action", b"action,sha256\n")
@example("#1", b"to,label,action,sha256,when,comment,look\n")
@example('"', b"")
@example("\ufeff", b"")
@example("reject", b"to,label,action,sha256,when,comment,look\n")
def test_every_label_that_is_accepted_reads_back(label: str, before: bytes) -> None:
    try:
        folder_name(label)
    except LabelError:
        reject()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "curation.csv")
        path.write_bytes(before)
        rejected = decisions.read_curation(path).rejected
        curation.relabel(Path(folder), label, [A])
        decisions.append(Path(folder), [{"action": "add", "sha256": "c" * 64, "label": label}])
        found = decisions.read_curation(path)
        assert found.relabelled == {A: label} and found.rejected == rejected
        assert found.confirmed == {A, "c" * 64} and path.read_bytes().startswith(before)


@pytest.mark.parametrize("end", ["\n", "\r", "\v", "\x1c", "\x1f", "\x7f", "\x85", "\u2028", "\u2029"])
def test_a_label_that_would_break_the_line_is_refused_with_its_name(tmp_path: Path, end: str) -> None:
    label = f"a{end}b"
    with pytest.raises(LabelError, match=re.escape(f"the label {label!r} holds a control character")):
        curation.relabel(tmp_path, label, [A])
    for column in ("to", "label"):
        with pytest.raises(LabelError):
            decisions.append(tmp_path, [{"action": "relabel", "sha256": A, "to": "b", column: label}])
    (tmp_path / "curation.csv").write_text(f"relabel,{A},,a\x1fb\n")
    with pytest.raises(CurationError, match=r"line 1: the label 'a\\x1fb' holds a control character"):
        decisions.read_curation(tmp_path / "curation.csv")


def test_a_line_of_a_word_that_is_a_column_is_a_decision(tmp_path: Path) -> None:
    path = tmp_path / "curation.csv"
    path.write_text(f"relabel,{A},,action,2026-01-02T10:00:00+00:00,sha256\nrelabel,{B},,\u2028\n".rstrip())
    with pytest.raises(CurationError, match="line 2: relabel without a label"):
        decisions.read_curation(path)
    path.write_text(f"relabel,{A},,action,2026-01-02T10:00:00+00:00,sha256")
    assert decisions.read_curation(path).relabelled == {A: "action"}


def test_a_file_in_another_encoding_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "curation.csv").write_bytes("action,sha256\n# schön\n".encode("latin-1"))
    with pytest.raises(CurationError, match="is not text in UTF-8"):
        decisions.append(tmp_path, [{"action": "reject", "sha256": "a" * 64}])
