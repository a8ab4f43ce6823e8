"""Names that strangers give to files are told as text."""

import os

import pytest

from greenr_luigi.staleness import traces
from greenr_luigi.staleness.shown import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Löwe 🦁.jpg", "Löwe 🦁.jpg"),
        ("71\xa0%\u3000\u202f.jpg", "71\xa0%\u3000\u202f.jpg"),
        ("\udcfc.jpg", "\\xfc.jpg"),
        ("\x1b]0;mine\x07", "\\x1b]0;mine\\x07"),
        ("\x9b31m\u202egpj.exe\n", "\\x9b31m\\u202egpj.exe\\n"),
    ],
)
def test_no_name_of_a_file_changes_a_terminal(name, shown):
    assert printable(name) == shown


def test_a_cause_names_any_file(tmp_path):
    """A byte that is no character ended in a traceback when the cause was noted."""
    (tmp_path / os.fsdecode(b"\xff\x1b]0;mine.jpg")).touch()
    name = "\\xff\\x1b]0;mine.jpg"
    assert traces.files_changed("folder", {}, tmp_path) == f"folder file {name} was added"
    there = traces.snapshot(tmp_path)
    (tmp_path / os.fsdecode(b"\xff\x1b]0;mine.jpg")).unlink()
    assert traces.files_changed("folder", there, tmp_path) == f"folder file {name} is missing"
