"""Outputs that appear whole, and who may replace them."""

import contextlib
import fcntl
import multiprocessing
import shutil

import pytest

from greenr_luigi.staleness.output_folder import atomic_folder, lock
from tests import toys
from tests.toys import build


def test_leftover_of_killed_runs_is_removed(root):
    output = toys.Read(root=root, name="a").output_folder
    leftover = output.parent / f".{output.name}.0123dead"
    leftover.mkdir(parents=True)
    (leftover / "text").write_text("half")
    (output.parent / f".{output.name}.0123dead.link").symlink_to(leftover.name)
    build(root)
    assert not leftover.exists()
    assert not list(output.parent.glob("*.link"))


@pytest.mark.parametrize("name", ["[br*]?-0", "[!a]", "*", "plain"])
def test_what_is_replaced_goes_whatever_its_name(tmp_path, name):
    for text in ("old", "new"):
        with atomic_folder(tmp_path / name) as out:
            (out / "text").write_text(text)
    assert (tmp_path / name / "text").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {name, out.name}


def test_a_copy_that_followed_links_is_mended(root, tmp_path):
    """`cp -rL`, and backups that know no links: outputs are complete, and can be replaced."""
    build(root)
    copied = shutil.copytree(root, tmp_path / "copied")
    output = toys.Read(root=copied, name="a").output_folder
    assert output.is_dir() and not output.is_symlink()
    assert toys.Read(root=copied, name="a").complete()
    toys.Read(root=copied, name="a").run()
    (output / "text").unlink()
    build(copied)
    assert output.is_symlink() and (output / "text").exists()
    assert list(output.parent.glob(f".{output.name}.*")) == [output.resolve()]


def test_a_folder_without_a_stamp_in_the_place_of_an_output_stays(tmp_path):
    mine = tmp_path / "output" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(IsADirectoryError), atomic_folder(mine.parent):
        pass
    assert mine.read_text() == "mine"


def _hold(output, ready, release):
    with lock(output, fcntl.LOCK_EX, print):
        ready.set()
        release.wait()


@contextlib.contextmanager
def held(output):
    """The lock of an output is held by another process, whose number is yielded."""
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(output, ready, release))
    holder.start()
    ready.wait()
    yield holder.pid
    release.set()
    holder.join()


@pytest.mark.slow
def test_lock_tells_who_holds_it_and_a_killed_holder_blocks_nobody(root):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    output = toys.Read(root=root, name="a").output_folder
    holder = context.Process(target=_hold, args=(output, ready, release))
    holder.start()
    ready.wait()
    heard = []

    def waits(words):
        heard.append(words)
        holder.kill()

    with lock(output, fcntl.LOCK_SH, waits):
        assert heard[0].startswith(f"waits for another run of Read: process {holder.pid} on ")
    holder.join()
