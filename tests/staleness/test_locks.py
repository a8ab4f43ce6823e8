"""Locks are waited for until a deadline, who holds them is told truly, and no neighbour can hold one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenr_luigi import shared_files
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.staleness import data_root, locks
from greenr_luigi.staleness.output_folder import lock

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")
#: Holds a lock until its input ends. Without site-packages, since that takes a third of a second.
HOLD = """
import fcntl, sys
file = open(sys.argv[1], sys.argv[2])
getattr(fcntl, sys.argv[3])(file, fcntl.LOCK_EX if sys.argv[3] == "flock" else fcntl.LOCK_SH)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(path: Path, how: str, mode: str = "r", **more: object) -> Iterator[int]:
    """A lock is held by another process, whose number is yielded."""
    command = [sys.executable, "-I", "-S", "-c", HOLD, str(path), mode, how]
    with subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    ) as process:
        assert process.stdout.readline() == b"held\n", process.stderr.read()
        yield process.pid
        process.stdin.close()


def whole(path: Path, on_wait: locks.OnWait, patience: float) -> contextlib.AbstractContextManager[None]:
    return shared_files.locked(path, on_wait, patience)


def output(path: Path, on_wait: locks.OnWait, patience: float) -> contextlib.AbstractContextManager[None]:
    return lock(path.with_suffix(""), fcntl.LOCK_EX, on_wait, patience)


@pytest.mark.parametrize(("take", "how"), [(whole, "flock"), (output, "lockf")])
def test_who_holds_a_lock_is_told_truly_and_the_wait_has_an_end(
    tmp_path: Path, take: Callable[..., contextlib.AbstractContextManager[None]], how: str
) -> None:
    path = tmp_path / "it.lock"
    path.write_text("process 1 on elsewhere since 12:00:00\n")
    heard: list[str] = []
    with held(path, how) as pid:
        who = rf"process {pid} on \S+ \(.*, of user \w+\)"
        late = pytest.raises(GreenrError, match=rf"^{path}: held for 0.05 seconds by {who}: look")
        with late, os_refusals_explained(), take(path, heard.append, 0.05):
            pass
        assert len(heard) == 1 and f"process {pid} on " in heard[0] and "\n" not in heard[0]
    with take(path, heard.append, 0.05):
        assert len(heard) == 1


def test_who_waits_is_told_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TELL", 0.02)
    heard: list[str] = []
    path = tmp_path / "lock"
    with (
        shared_files.locked(path),
        pytest.raises(locks.LockTimeoutError),
        shared_files.locked(path, heard.append, 0.2),
    ):
        pass
    assert len(heard) > 1 and set(heard) == {"another thread of this process"}


def test_a_file_of_lines_that_is_held_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_files, "UPDATE", 0.05)
    path = tmp_path / "log"
    path.write_text("one\n")
    with (
        held(tmp_path / ".log.lock", "flock", "a") as pid,
        pytest.raises(locks.LockTimeoutError, match=f"by process {pid} on"),
    ):
        shared_files.append(path, lambda _: b"two\n")
    shared_files.append(path, lambda _: b"two\n")
    assert path.read_text() == "one\ntwo\n" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("add", [shared_files.append, shared_files.append_line])
def test_whoever_may_read_a_file_of_lines_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add: Callable[..., None]
) -> None:
    """A neighbour who locked a history could keep others from deploying."""
    monkeypatch.setattr(shared_files, "UPDATE", 0.05)
    path = tmp_path / "log"
    path.write_text("one\n")
    with held(path, "flock"), held(path, "lockf"):
        add(path, lambda *_: b"two\n")
    assert path.read_text() == "one\ntwo\n"


def make_all_locks(root: Path) -> list[Path]:
    """Every lock file that a root has."""
    data_root.mark(root)
    with data_root.held_alone(root, pytest.fail):
        pass
    with lock(root / "Stage" / "it", fcntl.LOCK_EX, pytest.fail), shared_files.locked(root / "lock"):
        pass
    return [path for path in sorted(root.rglob("*lock")) if path.is_file()]


def test_locks_are_private_and_those_of_earlier_versions_become_so(tmp_path: Path) -> None:
    made = make_all_locks(tmp_path)
    assert len(made) == 3
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o664)
    assert {stat.S_IMODE(path.stat().st_mode) for path in make_all_locks(tmp_path)} == {0o600}


@root_only
def test_a_lock_that_root_makes_belongs_to_whose_folder_it_lies_in(tmp_path: Path) -> None:
    """Its owner could not open it otherwise."""
    os.chown(tmp_path, NOBODY, -1)
    for _ in range(2):
        with shared_files.locked(tmp_path / "lock"):
            assert (tmp_path / "lock").stat().st_uid == NOBODY


def test_a_marker_is_not_written_through_a_link(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / data_root.MARKER).symlink_to(tmp_path / "nologin")
    with pytest.raises(OSError, match="it is a symbolic link, which may lead anywhere: remove it"):
        data_root.mark(root)
    assert not (tmp_path / "nologin").exists()


@root_only
def test_what_is_another_users_stays_as_it_is_and_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        _another_users(Path(folder) / "lock")


def _another_users(path: Path) -> None:
    path.touch(0o644)
    os.chown(path, NOBODY, NOBODY)
    with shared_files.locked(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    try:
        path.chmod(0o600)
        os.chown(path, 0, 0)
        path.parent.chmod(0o777)
        os.seteuid(NOBODY)
        refused = pytest.raises(GreenrError, match=r"lock \(it belongs to user root\): no permission")
        with refused, os_refusals_explained(), shared_files.locked(path):
            pass
    finally:
        os.seteuid(0)
