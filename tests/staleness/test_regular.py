"""What lies in the place of a file and is none: told at once, never waited for, and opened in one place only."""

import os
import re
import socket
from pathlib import Path

import pytest

from greenr_luigi.about import PACKAGE
from greenr_luigi.staleness import regular


def in_the_place_of(path: Path, kind: str) -> None:
    """Put something that is no file there."""
    if kind == "folder":
        path.mkdir()
        (path / "theirs").touch()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.symlink_to({"device": "/dev/zero", "circle": path.name}[kind])


@pytest.mark.timeout(30)
@pytest.mark.parametrize("mode", ["rb", "ab", "wb", "ab+"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "circle"])
def test_what_is_no_file_is_not_waited_for(
    kind: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # The name of a socket may not be long.
    path = Path("x")
    in_the_place_of(path, kind)
    with pytest.raises(IsADirectoryError) as error:
        regular.opened(path, mode)
    circle = "a link there leads back to itself"
    words = circle if kind == "circle" else f"it is a {kind}, where a file is expected"
    assert (error.value.strerror, error.value.filename) == (words, "x")


def test_a_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"words")
    (tmp_path / "link").symlink_to("file")
    assert regular.read(tmp_path / "file") == regular.read(tmp_path / "link") == b"words"
    with pytest.raises(FileNotFoundError):
        regular.read(tmp_path / "none")


#: What the kernel makes up, bytes in memory, an installed package, folders, and what is opened by one (`opened_own`).
ELSEWHERE = re.compile(
    r"proc|\(table\)|Image\.open|distribution\.|devnull|\(path, os\.O_RDONLY\)|O_DIRECTORY|dir_fd"
    r"|members\.open|tarfile\.open\(fileobj"
)


def test_files_are_opened_nowhere_else() -> None:
    """So that no pipe is waited for, and no device read to its end."""
    lines = {
        f"{path.name}: {line.strip()}"
        for folder in (PACKAGE, PACKAGE.parent / "tasks")
        for path in {*folder.rglob("*.py")} - {PACKAGE / "staleness" / "regular.py"}
        for line in path.read_text().splitlines()
        if re.search(r"\b(open|read_bytes|read_text)\(", line) and not ELSEWHERE.search(line)
    }
    assert not lines
