"""What a file system may refuse: told in one sentence with the file and the remedy, before the work where it can be."""

import errno
import fcntl
import os
import re
import shutil
from pathlib import Path

import pytest

from greenr_luigi.staleness import data_root
from greenr_luigi.staleness.errors import StalenessError, full_disk_told
from tests import toys
from tests.toys import build, cause, prepare


def run(stage):
    toys.ran.clear()
    with pytest.raises(StalenessError) as error:
        stage.run()
    return str(error.value)


def refuse(number, *names):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number), *names)

    return refused


def test_a_file_system_without_locks_is_named_before_the_work(root, monkeypatch):
    monkeypatch.setattr(fcntl, "lockf", refuse(errno.ENOLCK))
    stage = toys.Read(root=root, name="a")
    assert re.fullmatch(
        rf"Read\(a\) cannot use {root}: its file system \(.+\) gives no locks \(No locks available\): "
        "choose another --root, such as one on NFS 4 or GlusterFS",
        run(stage),
    )
    assert toys.ran == [] and cause(root, toys.Read, name="a") == "no output yet"


def test_a_file_system_without_links_is_named_before_the_work(root, monkeypatch):
    monkeypatch.setattr(Path, "symlink_to", refuse(errno.EPERM, ".folder", None, str(root / "link")))
    stage = toys.Read(root=root, name="a")
    assert run(stage) == (
        f"Read(a) cannot write {root}/link: its file system does not allow that (one without symbolic links?): "
        "choose another --root"
    )
    assert toys.ran == [] and not list(root.glob("Read/.*"))


def test_a_file_outside_the_root_that_cannot_be_read_is_named(root, monkeypatch):
    """The kernel lets nobody read the first bytes of a process: an I/O error, as a bad disk gives."""
    outside = Path("/proc/self/mem")
    monkeypatch.setattr(toys.Read, "reads", lambda self: {"a": outside})
    assert run(toys.Read(root=root, name="a")) == (
        f"Read(a) cannot use {outside}: its disk or file system is at fault: look at what `dmesg` says of it, "
        "or leave it out"
    )


def test_a_marker_that_cannot_be_read_is_told_before_the_work(root, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(data_root.regular, "read", denied)
    words = f"{root}/data-root.json cannot be read (Permission denied): mend that, or move it away"
    assert data_root.why_not_ours(root) == words


@pytest.fixture
def full_disk(small_disk):
    """With a toy graph that has run, and no room for anything more."""
    root = prepare(small_disk / "data")
    build(root)
    with (
        (small_disk / "ballast").open("wb", buffering=0) as file,
        pytest.raises(OSError, match="No space left"),
    ):
        while True:
            file.write(bytes(4096))
    return root


def test_a_full_disk_is_told_whatever_a_library_says(full_disk, monkeypatch):
    def work(self, out):
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr(toys.Toy, "work", work)
    (full_disk / "inputs" / "a").write_bytes(b"")
    stage = toys.Read(root=full_disk, name="a")
    with pytest.raises(StalenessError) as error:
        stage.run()
    assert "cannot write" in str(error.value) and "the disk is full: free some space" in str(error.value)


def test_what_goes_wrong_where_there_is_room_is_told_as_it_is(tmp_path):
    fault = RuntimeError("unexpected pos 64 vs 0")
    with pytest.raises(RuntimeError) as error, full_disk_told(tmp_path / "output"):
        raise fault
    assert error.value is fault and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("No space left on device (os error 28)", "the disk is full: free some space"),
        ("File too large", "no file may grow so large: raise `ulimit -f`, or choose another --root"),
    ],
)
def test_a_library_that_keeps_the_words_of_the_system_is_understood(root, monkeypatch, said, told):
    def work(self, out):
        raise RuntimeError(f"I/O error: {said}")

    monkeypatch.setattr(toys.Toy, "work", work)
    stage = toys.Read(root=root, name="a")
    assert run(stage) == f"Read(a) cannot write {stage.output_folder}: {told}"


def test_of_a_copy_that_does_not_fit_the_target_is_named(root, monkeypatch):
    monkeypatch.setattr(toys.Toy, "work", refuse(errno.ENOSPC, "source", None, str(root / "target")))
    assert run(toys.Read(root=root, name="a")) == (
        f"Read(a) cannot write {root}/target: the disk is full: free some space"
    )


def loop(path):
    path.symlink_to(path.name)
    (path / "x").write_text("")


def loop_in_a_copied_folder(path):
    path.mkdir()
    (path / "x").symlink_to("x")
    source = path.with_name("source")
    source.mkdir()
    (source / "x").write_text("")
    shutil.copytree(source, path, dirs_exist_ok=True)


def file_in_the_way(path):
    path.write_text("")
    path.mkdir()


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (loop, "{}/x: a link is in the way of a file: remove it"),
        (loop_in_a_copied_folder, "{}/x: a link is in the way of a file: remove it"),
        (file_in_the_way, "{}: a file is in the way of a folder: move it away"),
        (lambda path: (path / ("x" * 300)).mkdir(parents=True), None),
    ],
)
def test_what_is_in_the_way_beside_the_outputs_is_told(root, monkeypatch, fail, told):
    monkeypatch.setattr(toys.Toy, "work", lambda self, out: fail(root / "refused"))
    said = run(toys.Read(root=root, name="a"))
    assert (
        said == f"Read(a) cannot write {told.format(root / 'refused')}"
        if told
        else "name is too long" in said
    )


@pytest.mark.parametrize(("number", "told"), [(errno.ESTALE, "leave it out"), (errno.EMFILE, "ulimit -n")])
def test_a_picture_that_cannot_be_read_is_told(root, monkeypatch, number, told):
    monkeypatch.setattr(toys.Toy, "work", refuse(number, "/pictures/x.jpg"))
    said = run(toys.Read(root=root, name="a"))
    assert said.startswith("Read(a) cannot use /pictures/x.jpg: ") and told in said


def test_what_work_does_wrong_in_its_own_folder_is_a_fault_of_the_program(root, monkeypatch):
    monkeypatch.setattr(toys.Toy, "work", lambda self, out: file_in_the_way(out / "x"))
    with pytest.raises(FileExistsError):
        toys.Read(root=root, name="a").run()
    monkeypatch.setattr(toys.Toy, "work", refuse(errno.ETIMEDOUT))
    with pytest.raises(TimeoutError):
        toys.Read(root=root, name="a").run()


def test_an_output_that_is_a_link_to_itself_is_made_again(root):
    build(root)
    output = toys.Merge(root=root).output_folder
    output.unlink()
    output.symlink_to(output.name)
    assert cause(root, toys.Merge) == "its stamp cannot be read (a link there leads back to itself)"
    assert build(root) == ["Merge"]
    lock = output.with_name(f"{output.name}.lock")
    lock.unlink()
    lock.symlink_to(lock.name)
    (output / "text").unlink()
    assert "a link there leads back to itself: move it away" in run(toys.Merge(root=root))
