"""What was understood of a folder is remembered, and never longer than it is so."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from greenr_luigi.sources import layout, registry
from greenr_luigi.sources.layout import Layout
from greenr_luigi.sources.source import Request
from greenr_luigi.sources.tree import Tree
from greenr_luigi.staleness import listing, traces
from tests.sources.test_layout import NFC, NFD, tree


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    layout._kept.cache_clear()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are remembered however young they are. Who then changes one must `tick` before."""
    monkeypatch.setattr(listing, "SETTLED_NS", -1_000_000_000)


def tick(folder: Path) -> None:
    """Until the clock of the file system shows another time than that of what was done before."""
    probe = folder.parent / "probe"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        probe.touch()


def labels(found: Layout) -> dict[str, list[str]]:
    """The files of each label, and of what somebody may name as one, by their path below the folder, or as a table has
    them."""
    sets = {label: found.filesets(label) for label in (*found.classes, *found.around, *found.inside)}
    return {
        label: sorted(
            [os.path.relpath(each.folder / name, found.tree.top) for each in own for name in each.names()]
            + [f"no {row.file}" for each in own for row in each.missing]
        )
        for label, own in sets.items()
    }


def rewrite(path: Path, text: str) -> None:
    """As `rsync -t` may: another text of the same size, and the same time."""
    status = path.stat()
    assert len(text) == status.st_size
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def renew(folder: Path, *names: str) -> None:
    """Another folder in the place of one, with the same times."""
    status = folder.stat()
    folder.rename(folder.with_name("before"))
    tree(folder, *names)
    shutil.move(folder.with_name("before"), folder.parent.with_name("gone"))
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


FLAT = ("mine/1.jpg", "mine/2.jpg", "mine/3.jpg")
NOTED = ("mine/images/1.jpg", "mine/b/1.jpg")
PLAIN = ("mine/a/1.jpg", "mine/b/1.jpg")


@pytest.mark.parametrize(
    ("names", "change"),
    [
        (PLAIN, lambda mine: tree(mine, "c/1.jpg")),
        (PLAIN, lambda mine: tree(mine, f"{NFD}/1.jpg")),
        (PLAIN, lambda mine: (mine / "b").rename(mine / "c")),
        (PLAIN, lambda mine: shutil.rmtree(mine / "b")),
        (PLAIN, lambda mine: (mine / "1.jpg").touch()),
        # What a class's folder holds tells whether it is one; what holds a data root is none.
        (PLAIN, lambda mine: (mine / "b/1.jpg").rename(mine / "b/1.pth")),
        (("mine/a/1.jpg", "mine/b/1.pth"), lambda mine: tree(mine, "b/1.jpg")),
        (("mine/a/1.jpg", "mine/b/c/1.pth"), lambda mine: tree(mine, "b/c/1.jpg")),
        (PLAIN, lambda mine: (mine / "b" / listing.DATA_ROOT).touch()),
        # Folders for which others stand, and links to them.
        (PLAIN, lambda mine: renew(mine / "b", "1.pth")),
        (("other/c/1.jpg", *PLAIN), lambda mine: renew(mine, "c/1.jpg", "d/1.jpg")),
        (("other/c/1.jpg", "other/d/1.jpg", *PLAIN),
         lambda mine: (shutil.rmtree(mine), mine.symlink_to(mine.parent / "other"))),
        (("other/b/1.pth", *PLAIN),
         lambda mine: (shutil.rmtree(mine / "b"), (mine / "b").symlink_to(mine.parent / "other/b"))),
        # Sides that come, and that a class's folder holds.
        (("mine/train/a/1.jpg", "mine/train/b/1.jpg"), lambda mine: tree(mine, "test/a/1.jpg", "test/b/1.jpg")),
        (("mine/a/1.jpg", "mine/b/1.jpg"),
         lambda mine: ((mine / "a/1.jpg").unlink(), tree(mine, "a/train/1.jpg", "a/test/2.jpg"))),
        (("mine/a/train/1.jpg", "mine/a/x/1.jpg", "mine/b/1.jpg"), lambda mine: (mine / "a/x").rename(mine / "a/test")),
        # Folders that are none unless somebody names them.
        ((*NOTED, "mine/labels/1.txt"), lambda mine: (mine / "labels" / listing.DATA_ROOT).touch()),
        ((*NOTED, "mine/labels/train/1.txt", "mine/labels/test/1.txt"), lambda mine: tree(mine, "labels/1.txt")),
        # Passed through, until something lies beside it.
        (("mine/x/a/1.jpg", "mine/x/b/1.jpg"), lambda mine: tree(mine, "y/1.jpg")),
        (("mine/x/a/1.jpg", "mine/x/b/1.jpg"), lambda mine: tree(mine, "x/c/1.jpg")),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("settled")
def test_any_change_is_seen(tmp_path: Path, names: tuple[str, ...], change: Callable[[Path], object]) -> None:
    mine = tree(tmp_path / "top", *names) / "mine"
    before, words = labels(layout.of(mine)), layout.of(mine)
    assert layout.of(mine) is words, "not remembered: nothing is tested here"
    tick(tmp_path / "top")
    change(mine)
    found, afresh = layout.of(mine), layout._made(Tree(mine), "")
    assert labels(found) == labels(afresh) and found.doubt == afresh.doubt
    assert (labels(found), found.doubt) != (before, words.doubt)
    assert layout.of(mine) is found


LINES = "file,label\n1.jpg,a\n2.jpg,b\n3.jpg,a\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda mine: rewrite(mine / "labels.csv", LINES.replace("3.jpg,a", "3.jpg,b")),
        lambda mine: (mine / "labels.csv").unlink(),
        lambda mine: (mine / "labels.csv").rename(mine / "sample_submission.csv"),
        lambda mine: (mine / "3.jpg").rename(mine / "4.jpg"),
        lambda mine: (tree(mine, "more/3.jpg"), (mine / "3.jpg").unlink()),
        lambda mine: (mine / "more.csv").write_text("file,label\n3.jpg,c\n"),
        lambda mine: ((mine / "labels.csv").unlink(), (mine / "labels.csv").symlink_to(mine.parent / "other.csv")),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("settled")
def test_a_change_of_a_table_is_seen(tmp_path: Path, change: Callable[[Path], object]) -> None:
    mine = tree(tmp_path / "top", *FLAT) / "mine"
    (mine / "labels.csv").write_text(LINES)
    (mine.parent / "other.csv").write_text(LINES.replace("a", "c"))
    known = layout.of(mine)
    assert known.classes.keys() == {"a", "b"} and layout.of(mine) is known
    before = labels(known)
    tick(tmp_path / "top")
    change(mine)
    found, afresh = layout.of(mine), layout._made(Tree(mine), "")
    assert (labels(found), found.doubt) == (labels(afresh), afresh.doubt) != (before, known.doubt)


@pytest.mark.usefixtures("settled")
def test_a_link_from_elsewhere_that_comes_to_lead_to_a_folder_is_seen(tmp_path: Path) -> None:
    mine = tree(tmp_path / "top", *PLAIN) / "mine"
    (mine / "c").symlink_to(tmp_path / "far")
    assert layout.classes(mine) == ["a", "b"]
    tick(tmp_path / "top")
    tree(tmp_path / "far", "1.jpg")
    assert layout.classes(mine) == ["a", "b", "c"]


@pytest.mark.usefixtures("settled")
def test_a_pattern_sees_files_come_and_go(tmp_path: Path) -> None:
    mine, pattern = tree(tmp_path / "mine", "x/a_1.jpg", "x/b_1.jpg"), r"(.+)_\d"
    assert layout.of(mine, pattern) is layout.of(mine, pattern) is not layout.of(mine)
    for name in ("x/b_2.jpg", f"x/y/{NFD}_1.jpg"):
        tick(mine)
        tree(mine, name)
        assert labels(layout.of(mine, pattern)) == labels(layout._made(Tree(mine), pattern))
    assert layout.classes(mine, pattern) == [NFC, "a", "b"]


@pytest.mark.usefixtures("settled")
def test_another_archive_of_the_same_name_is_another_folder(tmp_path: Path) -> None:
    packed, source = tmp_path / "mine.zip", registry.find("folder")
    request = Request("", "", folder=packed, root=tmp_path)
    assert source.classes
    for names in (["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "c/1.jpg"], ["c/1.jpg", "d/1.jpg"]):
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as members:
            for name in names:
                members.writestr(name, name)
        (tmp_path / "new.zip").replace(packed)
        tick(packed)
        assert source.classes(request) == sorted(name[0] for name in names)


def test_what_changes_in_the_same_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    """A folder that has just changed is not remembered: its time may be the same after the next change."""
    mine = tree(tmp_path / "mine", "a/1.jpg", "b/1.jpg")
    assert layout.of(mine) is not layout.of(mine)
    for number in range(10):
        tree(mine, f"c{number:03}/1.jpg")
        assert len(layout.of(mine).classes) == number + 3
        tree(mine, f"c{number:03}/2.pth")
        (mine / f"c{number:03}/1.jpg").unlink()
        assert len(layout.of(mine).classes) == number + 2
        (mine / f"c{number:03}/2.pth").rename(mine / f"c{number:03}/2.jpg")
        assert len(layout.of(mine).classes) == number + 3


@pytest.mark.usefixtures("settled")
def test_a_folder_that_changes_while_it_is_listed_is_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tree(tmp_path / "mine", "a/1.jpg", "b/1.jpg")
    scandir, late = os.scandir, [lambda: tree(mine, "c/1.jpg")]

    def listed_too_early(folder: str) -> object:
        entries = scandir(folder)
        if late and Path(folder) == mine:
            tick(mine)
            found = [*entries]
            late.pop()()
            return contextlib.nullcontext(found)
        return entries

    monkeypatch.setattr(os, "scandir", listed_too_early)
    assert layout.classes(mine) == ["a", "b"]
    assert layout.classes(mine) == ["a", "b", "c"]


def test_of_folders_none_is_kept_for_ever(tmp_path: Path) -> None:
    for number in range(20):
        layout.of(tree(tmp_path / str(number), "a/1.jpg", "b/1.jpg"))
    assert layout._kept.cache_info().currsize <= 4


def test_a_future_time_is_no_reason_to_trust(tmp_path: Path) -> None:
    mine = tree(tmp_path / "mine", "a/1.jpg", "b/1.jpg")
    ahead = time.time() + 1e6
    os.utime(mine, (ahead, ahead))
    assert layout.of(mine) is not layout.of(mine)


READING = """
import sys
from pathlib import Path
from greenr_luigi.sources import layout
from greenr_luigi.sources.source import SourceError
try:
    found = layout.of(Path(sys.argv[1]))
    print(*(f"{label}/{name}" for label in "ab" for each in found.filesets(label) for name in each.names()))
except SourceError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o000, "{}/b cannot be listed: Permission denied"), (0o600, "a/1.jpg"), (0o700, "a/1.jpg b/2.jpg")],
)
def test_a_folder_that_may_not_be_read_is_named_or_passed_over(tmp_path: Path, mode: int, said: str) -> None:
    """With 600 the names in it may be read, and nothing else of it."""
    mine = tree(tmp_path / "mine", "a/1.jpg", "b/2.jpg")
    (mine / "b").chmod(mode)
    # Root itself may read whatever it will.
    bare = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    ran = subprocess.run(
        [*bare, sys.executable, "-c", READING, mine], capture_output=True, text=True, check=False
    )
    (mine / "b").chmod(0o700)
    assert (ran.stdout.strip(), ran.stderr) == (said.format(mine), "")


def test_names_in_names_without_end_are_passed_over(tmp_path: Path) -> None:
    """Past some 4,096 characters, the system takes no path."""
    mine, here = tree(tmp_path / "mine", "a/1.jpg", "b/2.jpg"), Path.cwd()
    try:
        os.chdir(mine / "a")
        for _ in range(25):
            os.mkdir("d" * 200)  # noqa: PTH102
            os.chdir("d" * 200)
        Path("2.jpg").touch()
    finally:
        os.chdir(here)
    assert labels(layout.of(mine)) == {"a": ["a/1.jpg"], "b": ["b/2.jpg"]}
    assert sorted(name for name, _ in traces.walk(mine)) == ["a/1.jpg", "b/2.jpg"]
