"""What has come before a kill, and was not checked: the next run does not ask for it again."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, read_jsonl
from greenr_luigi.sources import collected, loading, refused, registry
from greenr_luigi.sources.arrived import NAME, Arrived
from greenr_luigi.sources.collection import FIRST, Before, collect
from greenr_luigi.sources.loading import Loader
from greenr_luigi.sources.source import Request
from tests.progress import quiet
from tests.serving.looking import until
from tests.sources.collecting import URL, kill_collecting
from tests.sources.conftest import Internet

LAST = 24
LINE = re.compile(rb"[0-9a-f]{32} \d+ [0-9a-f]{64}\n")
#: As of a machine that is too busy to check anything.
BUSY = "from greenr_luigi.sources import loading; loading.Loader._settle = lambda *_: None"


@pytest.fixture
def killed(internet: Internet, tmp_path: Path) -> Path:
    """The folder of a list, whose collection was killed while it waited for the last address."""
    arrived = collected.folder(tmp_path / "data", "grass") / NAME

    def wait() -> None:
        until(lambda: arrived.exists() and len(LINE.findall(arrived.read_bytes())) == LAST - loading.WAIT)

    kill_collecting(internet, tmp_path, range(LAST + 1), wait, BUSY)
    with arrived.open("ab") as file:
        file.write(LINE.findall(arrived.read_bytes())[0] + b"what was just being writ")
    return tmp_path


def again(folder: Path, before: Before = FIRST, **more: object) -> None:
    (folder / "out").mkdir()
    request = Request("grass", "grass", 0, folder, folder / "data", **more)  # type: ignore[arg-type]
    collect(registry.find("urls"), request, folder / "out", {}, quiet, before)
    rows = read_jsonl(folder / "out" / MANIFEST, PictureRow)
    assert sorted(row.file_url or "" for row in rows) == sorted(URL.format(n) for n in range(LAST + 1))
    assert not [*(folder / "data").rglob(NAME)]


@pytest.mark.slow
def test_what_had_come_is_not_asked_for_again(internet: Internet, killed: Path) -> None:
    again(killed)
    assert len(internet.asked) == loading.WAIT + 1 and URL.format(LAST) in internet.asked


@pytest.mark.slow
@pytest.mark.parametrize("before, more", [(Before(forced=True), {}), (FIRST, {"min_side": 16})])
def test_by_force_and_on_other_terms_it_is(
    internet: Internet, killed: Path, before: Before, more: dict[str, object]
) -> None:
    again(killed, before, **more)
    assert len(internet.asked) == LAST + 1


@pytest.mark.slow
def test_after_an_hour_it_is(internet: Internet, killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "STANDS", -1)
    again(killed)
    assert len(internet.asked) == LAST + 1


def test_only_what_has_to_wait_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WAIT", 3)
    go_on, kept, checked = threading.Event(), list[bytes](), list[Future[bytes]]()

    def check(given: Callable[[], bytes]) -> bytes:
        go_on.wait()
        return given()

    with Loader() as loader:
        waiting = loading.cores.allowed() + 3
        for n in range(waiting + 5):
            come = Future[bytes]()
            begun = loader.begin(partial(lambda come: come, come), check, kept.append)
            until(lambda come=come: come in loader._coming)  # type: ignore[misc]
            come.set_result(b"%d" % n)
            checked.append(begun)
            if n < loading.cores.allowed():
                until(lambda: not loader._unchecked)
        until(lambda: len(kept) == 5)
        go_on.set()
        assert [one.result() for one in checked] == [b"%d" % n for n in range(waiting + 5)]
    assert sorted(map(int, kept)) == [*range(waiting, waiting + 5)]


def test_of_a_source_of_which_nothing_is_kept_nothing_is(tmp_path: Path) -> None:
    request = Request("grass", "grass", root=tmp_path)
    nothing = Arrived(None, request)
    nothing.keep(URL, b"x")
    assert nothing.get(URL) is None
    nothing.end()
    assert not [*tmp_path.iterdir()]


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="it is a link"):
        Arrived(tmp_path, Request("grass", "grass", root=tmp_path))
