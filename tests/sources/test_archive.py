"""A zip or tar in place of a folder."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi.errors import SettingError
from greenr_luigi.operations.prune import prune
from greenr_luigi.sources import archive, unpacking
from greenr_luigi.staleness import data_root
from tests.sources.test_layout import BESIDE, NFC, NFD, graph, tree

NAMES = [f"flowers/{side}/{label}/1.jpg" for side in ("train", "test") for label in (NFD, "grass")]


def zipped(path: Path, *names: str, content: bytes = b"x", **how: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in how.items():
                setattr(member, key, value)
            file.writestr(member, content)
    return path


def unsaid(path: Path) -> Path:
    """Without the flag that names are in UTF-8."""
    data = bytearray(path.read_bytes())
    for head, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = -1
        while (at := data.find(head, at + 1)) >= 0:
            data[at + place] &= ~0x08
    path.write_bytes(data)
    return path


def tarred(path: Path, *names: str, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            file.addfile(member, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.zip", zipped),
        ("a.ZIP", lambda path, *names: zipped(path, *(name.replace("/", "\\") for name in names), create_system=0)),
        ("a.zip", lambda path, *names: zipped(path, *(name.replace("/", "\\") for name in names))),
        # Of macOS: in UTF-8, which is not said.
        ("a.zip", lambda path, *names: unsaid(zipped(path, *names))),
        ("a.tar.gz", tarred),
        ("a.tar", lambda path, *names: tarred(path, *names, mode="w")),
        ("a.txz", lambda path, *names: tarred(path, *names, mode="w:xz")),
        ("no suffix", lambda path, *names: tarred(path, *names, mode="w:bz2")),
    ],
)  # fmt: skip
def test_an_archive_is_as_good_as_its_folder(tmp_path: Path, name: str, make: Callable[..., Path]) -> None:
    path, root = make(tmp_path / name, *NAMES, *BESIDE), tmp_path / "data"
    before = path.read_bytes()
    *downloads, _ = graph(path, root)
    assert [task.label for task in downloads] == [NFC, "grass"]  # type: ignore[attr-defined]
    (store,) = (path for path in (root / "unpacked").iterdir() if path.is_dir())
    reads = {read for task in downloads for read in task.all_reads().values()}
    assert reads == {store / name.rpartition("/")[0] for name in NAMES}
    assert not [*store.rglob(".*"), *store.rglob("__MACOSX"), *store.rglob("Thumbs.db")]
    assert path.read_bytes() == before and len([*tmp_path.iterdir()]) == 2


def test_it_is_unpacked_once_for_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, root = zipped(tmp_path / "a.zip", "a/1.jpg", "b/1.jpg"), tmp_path / "data"
    first = archive.opened(path, root)
    monkeypatch.setattr(archive, "unpack", lambda *_: pytest.fail("unpacked again"))
    assert archive.opened(path, root) == first
    os.utime(path, ns=(1, 1))
    assert archive.opened(path, root) == first
    other = path.rename(tmp_path / "b.zip")
    assert archive.opened(other, root) == first
    monkeypatch.undo()
    assert archive.opened(zipped(other, "a/1.jpg", "b/2.jpg"), root) != first


def test_prune_removes_what_came_of_no_archive_that_is_there(tmp_path: Path) -> None:
    data_root.mark(root := tmp_path / "data")
    kept, gone = (archive.opened(zipped(tmp_path / f"{n}.zip", f"a/{n}.jpg", "b/1.jpg"), root) for n in "12")
    (tmp_path / "2.zip").unlink()
    tree(root / "unpacked", "mine.json", "mine/1.jpg", ".unpacking-0123456789abcdef/1.jpg")
    removed = {path.name for removal in prune(root, 2) for path in removal.paths}
    assert removed == {gone.name, f"{gone.name}.json", ".unpacking-0123456789abcdef"}
    assert (
        kept.is_dir() and (root / "unpacked/mine.json").exists() and (root / "unpacked/mine/1.jpg").exists()
    )
    assert archive.opened(tmp_path / "1.zip", root) == kept


LINKS = [
    ("a/1.jpg", tarfile.REGTYPE, ""),
    ("b/1.jpg", tarfile.LNKTYPE, "a/1.jpg"),
    ("a/2.jpg", tarfile.SYMTYPE, "/etc"),
    ("b/2.jpg", tarfile.LNKTYPE, "gone"),
    ("a/3.jpg", tarfile.FIFOTYPE, ""),
    ("a/4.jpg", tarfile.CHRTYPE, ""),
]


def with_links(path: Path) -> Path:
    with tarfile.open(path, "w") as file:
        for name, kind, target in LINKS:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o777
            file.addfile(member)
    return path


def test_links_and_devices_are_left_out_but_a_second_name_is_none(tmp_path: Path) -> None:
    folder = archive.opened(with_links(tmp_path / "a.tar"), tmp_path / "data")
    assert sorted(f"{path.relative_to(folder)}" for path in folder.rglob("*.jpg")) == ["a/1.jpg", "b/1.jpg"]
    linked = zipped(tmp_path / "a.zip", "a/1.jpg", content=b"/etc", external_attr=0o120777 << 16)
    assert not [*archive.opened(linked, tmp_path / "data").iterdir()]


def torn(path: Path, whole: bytes) -> Path:
    path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: zipped(p, "a/1.jpg", "../b/1.jpg"), r"holds \.\./b/1.jpg, which would be written elsewhere"),
        (lambda p: tarred(p, "/etc/cron.d/x"), "holds /etc/cron.d/x, which would be written elsewhere"),
        (lambda p: zipped(p, "a\\..\\..\\x", create_system=0), "which would be written elsewhere"),
        (lambda p: torn(p, zipped(p, *NAMES).read_bytes()), "is torn or no archive"),
        (lambda p: torn(p, tarred(p, *map(str, range(39))).read_bytes()), "is torn or no archive"),
        (lambda p: p.write_bytes(b"7z\xbc\xaf\x27\x1c") and p, "is packed by 7z, and only zip and tar are read here: "),
        (lambda p: p.write_bytes(gzip.compress(b"1")) and p, r"torn or no archive \([^\n]*\): get it again$"),
        (lambda p: zipped(p, "a/1.jpg", "b/1.jpg", content=bytes(1 << 20)), "holds more than 1 times its own bytes"),
        (lambda p: tarred(p, *map(str, range(50))), "holds more than 40 files"),
        (lambda p: zipped(p, "a/1.jpg"), "one class only, a"),
        (lambda p: tarred(p, "a", "a/1.jpg"), "holds a/1.jpg, which cannot be written so .*: unpack it, rename that"),
        (lambda p: zipped(p, "a/1.jpg", "a"), "holds a, which cannot be written so"),
        (lambda p: zipped(p, "a/1.jpg", "b/" + 130 * "ж"), "holds b/ж+, which cannot be written so .File name too"),
        (lambda p: p.write_text("no archive") and p, "is torn or no archive"),
    ],
)  # fmt: skip
def test_what_is_no_good_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, make: Callable[[Path], Path], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MOST_FILES", 40), ("MOST_TIMES", 1), ("ANYWAY", 1 << 16)):
        monkeypatch.setattr(unpacking, name, value)
    path = make(tmp_path / "x.zip")
    if (
        not path.read_bytes().startswith(b"PK")
        and "tar" not in words
        and path.read_bytes()[:2] == b"\x1f\x8b"
    ):
        path = path.rename(tmp_path / "x.tgz")
    with pytest.raises(SettingError, match=f"--folder {path}.*{words}"):
        graph(path, tmp_path / "data")
    if "one class" not in words:
        assert not [*(tmp_path / "data/unpacked").glob("[!.]*")] and not [
            *(tmp_path / "data/unpacked").glob(".u*")
        ]
    assert {path.name for path in tmp_path.iterdir()} == {path.name, "data"}


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "a/1.jpg", "b/1.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(
        SettingError, match=r"a.zip cannot be unpacked in .*file/data/unpacked: Not a directory"
    ):
        graph(path, tmp_path / "file" / "data")


def test_an_encrypted_one_is_named_as_such(tmp_path: Path) -> None:
    whole = bytearray(zipped(tmp_path / "a.zip", "a/1.jpg", "b/1.jpg").read_bytes())
    # The flag of each entry of the directory at the end.
    at = whole.find(b"PK\x01\x02")
    whole[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(whole)
    with pytest.raises(SettingError, match="is encrypted: unpack it with its password"):
        graph(tmp_path / "a.zip", tmp_path / "data")
    assert data_root.why_not_ours(tmp_path / "data") is None
