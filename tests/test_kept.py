"""What is kept by content: it is found again, and nothing that was damaged is."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenr_luigi import kept as store_module
from greenr_luigi.kept import CHECKS, FEATURES, Kept, superfluous
from tests.staleness.test_regular import in_the_place_of

DIGEST, OTHER = "a" * 16, "b" * 16


def some(number: int, size: int = 160) -> dict[str, bytes]:
    return {f"{n:016x}": n.to_bytes(4) * (size // 4) for n in range(number)}


def found(
    folder: Path, *contents: str, digest: str = DIGEST, said: list[str] | None = None
) -> dict[str, bytes]:
    """What is kept of pictures; of all of `some(2000)` if none is named."""
    with Kept(folder, digest, (said if said is not None else []).append) as store:
        known = [*store.known(contents or some(2000))]
    return {content: value for each in known for content, value in each.items()}


def kept(folder: Path, number: int) -> Path:
    with Kept(folder, DIGEST, pytest.fail) as store:
        store.keep(some(number))
    return store.path


def test_what_is_kept_is_found_again_by_the_digest_it_was_kept_under(tmp_path):
    kept(tmp_path / FEATURES, 1900)
    assert found(tmp_path / FEATURES) == some(1900)
    assert found(tmp_path / FEATURES, digest=OTHER) == {}
    assert found(tmp_path / FEATURES, f"{7:016x}", "f" * 16) == {f"{7:016x}": some(8)[f"{7:016x}"]}


@settings(max_examples=30)
@given(data=st.data())
def test_a_byte_that_changed_on_the_disk_brings_no_wrong_features(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    path = kept(folder, 60)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    again = found(folder)
    assert again.items() <= some(60).items()


def test_a_name_that_is_no_text_brings_no_features(tmp_path):
    """One bit makes other values of the names in a file; here, somebody else's table does."""
    path = kept(tmp_path, 8)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE kept RENAME TO before")
        connection.execute("CREATE TABLE kept (content INTEGER PRIMARY KEY, row BLOB)")
        connection.execute("INSERT INTO kept SELECT * FROM before")
    assert found(tmp_path, f"{3:016x}") == {}


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_torn_file_is_begun_anew(share, tmp_path):
    path = kept(tmp_path, 500)
    os.truncate(path, int(path.stat().st_size * share))
    assert found(tmp_path).items() <= some(500).items()
    kept(tmp_path, 3)
    assert found(tmp_path).items() >= some(3).items()


def test_what_is_no_store_is_replaced_and_what_is_no_file_is_left(tmp_path):
    (tmp_path / f"{DIGEST}.sqlite").write_bytes(b"words, and no table" * 100)
    assert found(tmp_path) == {}
    kept(tmp_path, 3)
    assert found(tmp_path) == some(3)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["folder", "pipe", "circle"])
def test_it_is_done_without_what_cannot_be_opened_and_said_so(kind, tmp_path):
    in_the_place_of(tmp_path / f"{DIGEST}.sqlite", kind)
    said: list[str] = []
    assert found(tmp_path, said=said) == {}
    assert len(said) == 1 and said[0].endswith("are found out again")
    with Kept(tmp_path, DIGEST, said.append) as store:
        store.keep(some(3))


def test_a_link_leads_nowhere(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / FEATURES).symlink_to("theirs")
    said: list[str] = []
    assert found(tmp_path / FEATURES, said=said) == {} and "it is a link" in said[0]
    assert [*(tmp_path / "theirs").iterdir()] == []


def test_a_full_disk_costs_what_could_not_be_kept(small_disk):
    said: list[str] = []
    with Kept(small_disk / FEATURES, DIGEST, said.append) as store:
        store.keep(some(2))
        store.flush()
        store.keep(some(400, 5120))
        store.keep(some(400, 5120))
    assert len(said) == 1 and "full" in said[0]
    assert found(small_disk / FEATURES) == some(2)


def test_a_lock_that_is_never_given_up_is_waited_for_once(tmp_path, monkeypatch):
    """Each class of a run opens the file anew."""
    monkeypatch.setattr(store_module, "PATIENCE", 0.1)
    path, said, patience = kept(tmp_path, 8), list[str](), list[float]()
    connect = sqlite3.connect

    def noted(*args, timeout, **more):
        patience.append(timeout)
        return connect(*args, timeout=timeout, **more)

    with contextlib.closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", noted)
        assert [found(tmp_path, f"{3:016x}", said=said) for _ in range(3)] == [{}, {}, {}]
    assert patience == [0.1, 0, 0] and len(said) == 3 and "locked" in said[0]
    assert found(tmp_path) == some(8) and found(tmp_path, digest=OTHER) == {}
    assert patience[3:] == [0, 0.1]


def test_runs_side_by_side_add_to_one_file(tmp_path):
    everything = some(2000)
    names = [*everything]

    def add(names: list[str]) -> None:
        with Kept(tmp_path, DIGEST, pytest.fail) as store:
            for start in range(0, len(names), 100):
                store.keep({name: everything[name] for name in names[start : start + 100]})
                store.flush()

    adding = [threading.Thread(target=add, args=[names[part::2]]) for part in range(2)]
    for one in adding:
        one.start()
    for one in adding:
        one.join()
    assert found(tmp_path) == everything


ADD = """
import sys
from pathlib import Path
from greenr_luigi.kept import Kept
from tests.test_kept import DIGEST, some
with Kept(Path(sys.argv[1]), DIGEST, print) as store:
    number = 0
    while True:
        number += 1
        store.keep({name: vector for name, vector in some(2000, 5120).items() if int(name, 16) // 50 == number % 40})
        store.flush()
        print(number, flush=True)
"""


@pytest.mark.slow
def test_a_kill_leaves_whole_rows(tmp_path):
    for rounds in (2, 5, 9):
        with subprocess.Popen(
            [sys.executable, "-c", ADD, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as adding:
            for _ in range(rounds):
                assert adding.stdout and adding.stdout.readline().strip().isdigit()
            adding.send_signal(signal.SIGKILL)
        again = found(tmp_path)
        assert len(again) >= 50 * rounds and again.items() <= some(2000, 5120).items()


def test_those_used_last_stay(tmp_path):
    folder = tmp_path / CHECKS
    paths = [kept(folder, 1).rename(folder / f"{n:016x}.sqlite") for n in range(3)]
    for seconds, path in enumerate(paths, 10**9):
        os.utime(path, (seconds, seconds))
    journal = folder / f"{paths[1].name}-journal"
    journal.touch()
    (folder / "mine.sqlite").touch()
    found(folder, digest=paths[0].stem)
    assert superfluous(tmp_path, 1) == [paths[2], journal, paths[1]]
    assert superfluous(tmp_path, 2) == [journal, paths[1]]
    assert superfluous(tmp_path, 3) == superfluous(tmp_path / "nothing", 0) == []
