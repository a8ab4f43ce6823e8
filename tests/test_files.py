"""Files are written whole, whatever happens meanwhile, and not where another user's link leads."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi import files, shared_files
from greenr_luigi.dataset import curation
from greenr_luigi.serving import feedback_store
from greenr_luigi.sources import opened_store
from tests import tiny_release


def test_a_second_name_is_of_the_file_and_not_of_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"one")
    (tmp_path / "link").symlink_to("old")
    (tmp_path / "folder").mkdir()
    for make in (files.link, files.copy):
        new = tmp_path / "folder" / make.__name__
        make(tmp_path / "link", new)
        assert new.read_bytes() == b"one" and not new.is_symlink()
        assert new.samefile(tmp_path / "old") == (make is files.link)


@pytest.mark.parametrize("make", [files.link, lambda old, new: files.write(new, old.read_bytes())])
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path, Path], None]
) -> None:
    """Where `link` has to copy, too."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(bytes(100))

    def no_link(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", no_link)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            make(old, new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value).endswith(f": {str(new)!r}") and [*tmp_path.iterdir()] == [old]


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode_and_owner(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    owner = (1234, 4321) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    path.chmod(mode)
    shared_files.append(path, lambda _: b"two\n")
    now = path.stat()
    assert path.read_bytes() == b"one\ntwo\n"
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (*owner, mode)


def test_a_file_that_may_not_be_given_away_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    path.chmod(0o600)
    monkeypatch.setattr(os, "fchown", refused)
    files.write(path, b"two\n")
    assert path.read_bytes() == b"two\n" and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_a_file_inside_is_our_own(tmp_path: Path) -> None:
    folder, mine = tmp_path / "folder", tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    for file in (mine, folder / "sub" / "ours"):
        file.write_bytes(b"")
    (folder / "link").symlink_to(mine)
    (folder / "inside").symlink_to("sub/ours")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (tmp_path / "root").symlink_to(folder)
    assert files.own(folder, "sub/ours") == folder / "sub/ours"
    assert files.own(tmp_path / "root", "sub/ours") is not None
    for name in (
        "../mine",
        str(mine),
        "link",
        "inside",
        "linked/mine",
        "sub",
        "none",
        "pipe",
        "sub//ours",
        "sub/../../mine",
        "sub/../sub/ours",
    ):
        assert files.own(folder, name) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="making another user's link needs root")
@pytest.mark.parametrize(
    "write",
    [
        lambda place: shared_files.append(place / "link", lambda _: b"echo mine\n"),
        lambda place: files.private_folder(place / "link"),
        lambda place: curation.add(place, "grass", place / "picture", ""),
        lambda place: opened_store.opened(place, "grass", {}, pytest.fail).__enter__(),
        lambda place: feedback_store.keep(place / "link", (place / "picture").read_bytes(), "grass", "", ""),
    ],
    ids=["lines", "private", "added", "collected", "feedback"],
)
def test_nothing_is_written_where_another_users_link_leads(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    """It may be the start file of a shell; what a person has linked themselves is followed."""
    elsewhere, place = tmp_path / "elsewhere", tmp_path / "place"
    place.mkdir()
    (place / "picture").write_bytes(tiny_release.picture())
    links = [place / name for name in ("link", "added", "collected")]
    for link in links:
        link.symlink_to(elsewhere)
        os.lchown(link, 65534, 65534)
    with pytest.raises(OSError, match=r"is a link of user \w+, and what is written would go elsewhere"):
        write(place)
    assert not elsewhere.exists()
    elsewhere.mkdir()
    with pytest.raises(OSError, match=r"is a link of user \w+, and what is written would go elsewhere"):
        write(place)
    assert not [*elsewhere.iterdir()]


def test_what_was_opened_is_not_swapped_for_what_lies_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write there may do so between two looks: here, after the folder was opened."""
    folder, elsewhere, real = tmp_path / "folder", tmp_path / "elsewhere", os.open
    for place, content in ((folder / "sub", b"ours"), (elsewhere, b"secret")):
        place.mkdir(parents=True)
        (place / "file").write_bytes(content)

    def swapped(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened = real(path, flags, mode, dir_fd=dir_fd)
        if path == "sub":
            (folder / "sub").rename(folder / "old")
            (folder / "sub").symlink_to(elsewhere)
        return opened

    monkeypatch.setattr(os, "open", swapped)
    file = files.opened_own(folder, "sub/file")
    assert file is not None and file.read() == b"ours"
    file.close()
    assert files.opened_own(folder, "sub/file") is None
