"""Pictures examined by processes apart: found to be the same as here, and nothing is lost with a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenr_luigi import cores
from greenr_luigi.pictures import door, examine, examiners
from greenr_luigi.pictures.manifest import PictureRow
from greenr_luigi.pictures.terms import STRANGERS
from tests.noted import noted
from tests.pictures import crashing
from tests.sources.collecting import collect_from
from tests.sources.conftest import picture

Outcome = PictureRow | tuple[str, str]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was examined in this process. There are two cores, and a process is started for the first picture."""
    monkeypatch.setattr(cores, "allowed", lambda: 2)
    monkeypatch.setattr(examiners, "AFTER", 0)
    return noted(monkeypatch, door, "read")


def running(parent: int) -> set[int]:
    """The children of a process that are examiners."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, above = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            is_one = b".pictures." in (folder / "cmdline").read_bytes()
            if is_one and state != "Z" and int(above) == parent:
                found.add(int(folder.name))
    return found


def mine() -> set[int]:
    return running(os.getpid())


def wait_for(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.01)


@contextlib.contextmanager
def looking(root: Path) -> Iterator[Callable[[bytes], Outcome]]:
    with examine.once(root, pytest.fail) as look:

        def outcome(data: bytes) -> Outcome:
            try:
                return look(data, "grass", "urls", STRANGERS)
            except door.UnusablePicture as error:
                return error.reason, str(error)

        yield outcome


PICTURES = [
    *map(picture, range(8)),
    picture(1, 16),
    picture(2)[:200],
    b"",
    b"<!doctype html>",
    b"%PDF-1.4",
    b"II*\0" + bytes(60),
]


def in_this_process(data: bytes) -> Outcome:
    try:
        return examine.examine(data, "grass", "urls")
    except door.UnusablePicture as error:
        return error.reason, str(error)


@pytest.mark.slow
def test_they_find_what_is_found_here(tmp_path: Path, here: list[bytes]) -> None:
    with looking(tmp_path) as look, ThreadPoolExecutor(4) as pool:
        found = [*pool.map(look, PICTURES)]
        assert not here and 1 <= len(mine()) <= 2
    assert not mine()
    assert found == [*map(in_this_process, PICTURES)]
    with looking(tmp_path) as look:
        assert isinstance(look(picture(0)), PictureRow) and not mine()


@pytest.mark.slow
def test_a_collection_is_the_same_whoever_examines_it(
    tmp_path: Path, here: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine" / "grass"
    mine.mkdir(parents=True)
    for number, data in enumerate([*PICTURES, *map(picture, range(20, 40))]):
        (mine / f"{number}.jpg").write_bytes(data)
    written = []
    for after in (0, 5, 1000):
        monkeypatch.setattr(examiners, "AFTER", after)
        here.clear()
        out = tmp_path / f"{after}"
        collect_from("folder", "grass", out, folder=mine.parent, root=tmp_path / f"root-{after}")
        assert len(here) == min(after, 34)
        written.append(
            {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        )
    assert written[0] == written[1] == written[2]


def test_few_pictures_start_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiners, "AFTER", 8)
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    with looking(tmp_path) as look:
        for number in range(8):
            assert isinstance(look(picture(number)), PictureRow)


def test_one_core_has_none(tmp_path: Path, here: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed", lambda: 1)
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    with looking(tmp_path) as look:
        assert isinstance(look(picture(1)), PictureRow) and len(here) == 1


def test_where_no_process_can_be_had_it_is_done_here(
    tmp_path: Path, here: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*args: object, **more: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", none)
    with looking(tmp_path) as look:
        assert [*map(look, PICTURES)] == [*map(in_this_process, PICTURES)]


@pytest.mark.slow
def test_another_version_on_the_disk_examines_nothing(
    tmp_path: Path, here: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `git pull` during a run: what it found would be kept under this version's name."""
    monkeypatch.setattr(examine, "CODE", ["older"])
    with looking(tmp_path) as look:
        for number in range(3):
            assert isinstance(look(picture(number)), PictureRow)
        assert len(here) == 3 and not mine()


@pytest.mark.slow
def test_processes_that_are_killed_take_nothing_with_them(tmp_path: Path, here: list[bytes]) -> None:
    killed = 0
    with looking(tmp_path) as look, ThreadPoolExecutor(2) as pool:
        assert isinstance(look(picture(300)), PictureRow) and mine()
        coming = [pool.submit(look, picture(number)) for number in range(300)]
        while not all(one.done() for one in coming):
            wait_for(lambda: bool(mine()) or coming[-1].done())
            for process in mine():
                os.kill(process, signal.SIGKILL)
                killed += 1
        rows = [one.result() for one in coming]
    assert killed and not mine()
    assert [isinstance(row, PictureRow) and row.sha256 for row in rows] == [
        door.sha256(picture(number)) for number in range(300)
    ]


@pytest.mark.slow
def test_a_picture_that_processes_crash_of_is_refused_and_no_other(
    tmp_path: Path, here: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examiners, "MODULE", crashing.__name__)
    with looking(tmp_path) as look, ThreadPoolExecutor(2) as pool:
        found = [*pool.map(look, [picture(1), crashing.CRASHES, picture(2), crashing.ENDS, picture(3)])]
        assert found[1] == (
            "broken",
            "the picture cannot be read (it ends the process that reads it): save it anew and try again",
        )
        # What says so by no crash is asked here, as a fault of our own would be raised here.
        assert here == [crashing.ENDS] and isinstance(found[3], tuple)
        assert all(isinstance(found[number], PictureRow) for number in (0, 2, 4))


PROGRAM = """
import sys
from pathlib import Path
from greenr_luigi import cores
from greenr_luigi.pictures import examine, examiners
from greenr_luigi.pictures.terms import STRANGERS
cores.allowed, examiners.AFTER = (lambda: 2), 0
with examine.once(Path(sys.argv[1]), print) as look:
    look(Path(sys.argv[2]).read_bytes(), "grass", "urls", STRANGERS)
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_end_with_the_process_that_has_started_them(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "1.jpg").write_bytes(picture(1))
    command = [sys.executable, "-c", PROGRAM, tmp_path / "data", tmp_path / "1.jpg"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout and process.stdout.readline() == b"there\n"
        (examiner,) = running(process.pid)
        process.send_signal(number)
        process.wait(30)
    wait_for(lambda: not Path(f"/proc/{examiner}").exists())


@pytest.mark.slow
def test_the_keyboard_reaches_the_process_alone_that_has_started_them(
    tmp_path: Path, here: list[bytes]
) -> None:
    with looking(tmp_path) as look:
        look(picture(1))
        assert {os.getpgid(process) for process in mine()} == mine()
