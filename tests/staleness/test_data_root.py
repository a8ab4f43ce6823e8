"""The data root is for its owner alone, and whom they let in."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenr_luigi.staleness import data_root, output_folder
from tests import toys

#: A neighbour.
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user's view needs root")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def shelf():
    """A folder that every user may enter. None of pytest's is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def seen(root, user=NOBODY, group=NOBODY):
    """What a user can list, open or enter, by name."""
    script = "find {0} -mindepth 1 -readable 2>/dev/null; find {0} -executable -type d 2>/dev/null"
    done = subprocess.run(
        ["sh", "-c", script.format(root)],
        user=user,
        group=group,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


@needs_root
def test_a_neighbour_sees_nothing_of_a_run(shelf):
    (shelf / "given").mkdir(mode=0o755)
    assert seen(shelf / "given"), "this user gets so far"
    data_root.mark(shelf / "data")
    toys.prepare(shelf / "data")
    toys.build(shelf / "data")
    assert mode(shelf / "data") == 0o700
    assert seen(shelf / "data") == []
    # Nor of what is moved or linked out of it.
    (shelf / "data" / "Final").rename(shelf / "given" / "Final")
    (shelf / "given" / "Final").chmod(0o755)
    assert len([*(shelf / "given").rglob("*")]) > 4
    assert {path.rpartition("/")[2] for path in seen(shelf / "given")} == {"given", "Final"}


@pytest.mark.parametrize("marker", [None, "", data_root.OPEN[:9], data_root.OPEN, data_root.CLOSED[:-9]])
@pytest.mark.parametrize(
    "found, then", [(0o755, 0o700), (0o2775, 0o2700), (0o701, 0o700), (0o750, 0o750), (0o2770, 0o2770)]
)
def test_one_that_is_open_is_closed_once(tmp_path, marker, found, then):
    """Made by an earlier version, or before the first run. A group that all the others were kept out for stays."""
    root = tmp_path / "data"
    root.mkdir()
    root.chmod(found)
    if marker is not None:
        (root / data_root.MARKER).write_text(marker)
    data_root.mark(root)
    assert mode(root) == then
    assert (root / data_root.MARKER).read_text() == data_root.CLOSED
    root.chmod(found)
    data_root.mark(root)
    assert mode(root) == found


@pytest.mark.parametrize("torn", [False, True])
def test_one_that_holds_other_things_is_left_as_it_is_and_what_is_made_there_is_closed(tmp_path, torn):
    """`--root ~`, or a site's folder: who closes it shuts others out of what is not ours."""
    (tmp_path / "site.html").touch()
    tmp_path.chmod(0o755)
    if torn:
        (tmp_path / data_root.MARKER).write_text(data_root.OPEN[:9])
    data_root.mark(tmp_path)
    toys.prepare(tmp_path)
    for _ in range(2):
        toys.build(tmp_path)
        assert mode(tmp_path) == 0o755
    assert {mode(path) & 0o077 for path in tmp_path.glob("Final/.*/*")} == {0}


def test_runs_that_begin_at_once_find_a_whole_marker(tmp_path):
    """One of them read what another was about to write, and failed: "torn, or another program's"."""

    def begin(root):
        data_root.mark(root)
        found = data_root.why_not_ours(root)
        (root / "made").touch()
        return found

    with ThreadPoolExecutor(4) as pool:
        found = {*pool.map(begin, [tmp_path / f"{i // 4}" for i in range(800)])}
    assert found == {None}
    assert {mode(root) for root in tmp_path.iterdir()} == {0o700}
    assert {path.name for path in tmp_path.glob("*/*")} == {data_root.MARKER, "made"}


def test_one_that_cannot_be_marked_is_not_closed(tmp_path, monkeypatch):
    """`--root /sys`, as root."""
    monkeypatch.setattr(data_root.regular, "descriptor", lambda *_: (tmp_path / "none" / "x").touch())
    tmp_path.chmod(0o755)
    with pytest.raises(FileNotFoundError):
        data_root.mark(tmp_path)
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize(
    "lets_in, file, folder",
    [(0o700, 0o600, 0o700), (0o750, 0o640, 0o750), (0o755, 0o644, 0o755), (0o777, 0o644, 0o755)],
)
def test_whom_a_person_lets_in_may_read_what_is_made(tmp_path, lets_in, file, folder):
    data_root.mark(tmp_path / "data")
    (tmp_path / "data").chmod(lets_in)
    toys.prepare(tmp_path / "data")
    toys.build(tmp_path / "data")
    made = [*(tmp_path / "data").glob("Final/.*/*"), *(tmp_path / "data").glob("Final/.*")]
    assert len(made) >= 3
    assert {mode(path) for path in made if path.is_file()} == {file}
    assert {mode(path) for path in made if path.is_dir()} == {folder}


@needs_root
def test_what_root_makes_in_anothers_the_owner_reads_and_nobody_else(shelf):
    home = shelf / "home"
    home.mkdir()
    shutil.chown(home, 54301, 54301)
    data_root.mark(home / "data")
    toys.prepare(home / "data")
    toys.build(home / "data")
    made = {str(path) for path in (home / "data").rglob("*") if path.suffix != ".lock"}
    assert len(made) > 20
    assert made <= set(seen(home / "data", 54301, 54301)) and seen(home / "data") == []


@pytest.mark.parametrize("can_link", [True, False])
def test_copies_of_what_was_closed_are_as_all_that_is_made_now(tmp_path, monkeypatch, can_link):
    """Or root's copies of another's outputs, which belong to root, would be closed to that user."""
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "inner").mkdir(parents=True)
    for name in ("stamp.json", "inner/stamp.json"):
        (old / name).touch(0o600)
        os.utime(old / name, (7, 7))
    (old / "inner").chmod(0o700)
    new.mkdir()
    if not can_link:
        monkeypatch.setattr(os, "link", lambda *_: Path("/nowhere").stat())
    output_folder.copy_output(old, new, without="stamp.json")
    made = [*new.rglob("*")]
    assert [path.relative_to(new).as_posix() for path in made] == ["inner", "inner/stamp.json"]
    assert mode(made[0]) == 0o755 and mode(made[1]) == (0o600 if can_link else 0o644)
    assert made[1].stat().st_mtime == 7


@needs_root
def test_in_one_that_cannot_be_closed_the_files_are(shelf):
    """As of a volume that is root's, and writable for all."""
    root = shelf / "data"
    root.mkdir()
    root.chmod(0o777)
    script = (
        "import os, pathlib, sys; from greenr_luigi.staleness import data_root; root = pathlib.Path(sys.argv[1]); "
        "os.setgroups([]); os.setgid(54301); os.setuid(54301); data_root.mark(root); (root / 'made').touch()"
    )
    subprocess.run([sys.executable, "-c", script, root], check=True)
    assert mode(root) == 0o777 and mode(root / "made") == 0o600
