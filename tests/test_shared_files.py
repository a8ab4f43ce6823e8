"""Files of lines: added to by several at once, whole whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from greenr_luigi import shared_files
from greenr_luigi.staleness import regular

ADD_LINES = """
import pathlib, sys
from greenr_luigi import shared_files
for number in range(20):
    shared_files.append(pathlib.Path("log"), lambda _: f"{sys.argv[1]} {number}\\n".encode())
"""


def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ADD_LINES, str(name)], cwd=tmp_path) for name in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{n} {k}" for n in range(3) for k in range(20))
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_one_that_comes_right_after_another_is_no_failure_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until the other one has ended."""
    path, replace = tmp_path / "log", Path.replace
    other = threading.Thread(target=shared_files.append, args=(path, lambda _: b"two\n"))

    def followed(beside: Path, place: Path) -> Path:
        replaced = replace(beside, place)
        monkeypatch.setattr(Path, "replace", replace)
        other.start()
        return replaced

    monkeypatch.setattr(Path, "replace", followed)
    shared_files.append(path, lambda _: b"one\n")
    other.join()
    assert path.read_text() == "one\ntwo\n"


def test_what_does_not_read_back_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "log", regular.read
    path.write_bytes(b"one\n")
    monkeypatch.setattr(regular, "read", lambda file: read(file)[: None if file == path else -1])
    with pytest.raises(OSError, match="does not read back") as error:
        shared_files.append(path, lambda _: b"two\n")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"one\n" and [file.name for file in tmp_path.iterdir()] == ["log"]


def test_a_line_begins_afresh(tmp_path: Path) -> None:
    path = tmp_path / "log"
    shared_files.append(path, lambda old: old + b"one\n")
    path.write_bytes(path.read_bytes() + b"half")
    shared_files.append(path, lambda _: b"two\n")
    assert path.read_text() == "one\nhalf\ntwo\n"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("elsewhere")
    shared_files.append(tmp_path / "log", lambda _: b"one\n")
    assert (tmp_path / "log").is_symlink() and (tmp_path / "elsewhere").read_text() == "one\n"


def test_a_full_disk_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        shared_files.append(path, lambda _: b"two\n")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"one\n" and [file.name for file in tmp_path.iterdir()] == ["log"]


def test_a_change_that_fails_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    def refused(*_: object) -> bytes:
        raise ValueError("refused")

    for there in ([], [tmp_path / "empty"]):
        for path in there:
            path.touch()
        for name in ("log", "empty"):
            for change in (shared_files.update, shared_files.append_line):
                with pytest.raises(ValueError, match="refused"):
                    change(tmp_path / name, refused)
        assert [*tmp_path.iterdir()] == there


def test_a_line_is_added_in_place_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "log"
    given = []

    def line(last, size):
        given.append((last, size))
        return b"new\n"

    for torn in (b"", b"half"):
        path.write_bytes(path.read_bytes() + torn if path.exists() else torn)
        shared_files.append_line(path, line)
    inode = path.stat().st_ino
    assert given == [(b"", 0), (b"half", 8)] and path.read_bytes() == b"new\nhalf\nnew\n"
    full = OSError(errno.ENOSPC, "full")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="full") as raised:
        shared_files.append_line(path, line)
    assert raised.value.filename == str(path) and path.read_bytes() == b"new\nhalf\nnew\n"
    assert path.stat().st_ino == inode
