"""A class that is being collected when the run is killed: the next one asks for the rest alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import Refusal, read_jsonl
from greenr_luigi.sources import collected, refused, registry
from greenr_luigi.sources.collection import FIRST, Before, collect
from greenr_luigi.sources.source import Request, SourceError
from tests.progress import quiet
from tests.serving.looking import until
from tests.sources.collecting import URL, kill_collecting
from tests.sources.conftest import Internet

pytestmark = pytest.mark.slow

LAST = URL.format(12)


@pytest.fixture
def killed(internet: Internet, tmp_path: Path) -> Path:
    """The folder of a list, whose collection was killed while it waited for the last address."""
    log = collected.folder(tmp_path / "data", "grass") / refused.NAME

    def wait() -> None:
        until(lambda: len([*log.parent.glob("[!.]*.jpg")]) == 12)
        until(lambda: log.exists() and log.read_bytes().count(b"\n") == 13)

    kill_collecting(internet, tmp_path, [*range(12), *range(1000, 1006), *range(2000, 2006), 3000, 12], wait)
    return tmp_path


def again(folder: Path, before: Before = FIRST, pictures: int = 13, **more: object) -> list[Refusal]:
    out = folder / "out"
    out.mkdir()
    request = Request("grass", "grass", 0, folder, folder / "data", **more)  # type: ignore[arg-type]
    counts = collect(registry.find("urls"), request, out, {}, quiet, before)
    assert counts["pictures"] == pictures and not [*(folder / "data").rglob(refused.NAME)]
    return read_jsonl(out / "rejected.jsonl", Refusal)


def test_what_was_refused_before_a_kill_is_not_asked_for_again(internet: Internet, killed: Path) -> None:
    (killed / "grass.txt").write_text("\n" + (killed / "grass.txt").read_text())
    refusals = again(killed)
    assert internet.asked == [LAST]
    assert len(refusals) == 13 and {one.reason for one in refusals} == {"http-404", "format", "too-small"}
    # Each with the line in which it stands now.
    lines = [int(re.findall(r"^grass\.txt, line (\d+): \w", one.message)[0]) for one in refusals]
    assert sorted(lines) == [*range(14, 27)]


def test_who_says_so_has_all_asked_for_again(internet: Internet, killed: Path) -> None:
    again(killed, Before(forced=True))
    assert len(internet.asked) == 14


def test_on_other_terms_it_is_asked_for_again(internet: Internet, killed: Path) -> None:
    again(killed, pictures=14, min_side=16)
    assert len(internet.asked) == 14


def test_after_an_hour_it_is_asked_for_again(
    internet: Internet, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "STANDS", -1)
    again(killed)
    assert len(internet.asked) == 14


def test_a_run_that_ends_leaves_nothing(internet: Internet, tmp_path: Path) -> None:
    (tmp_path / "grass.txt").write_text("\n".join(URL.format(number) for number in range(1000, 1003)))
    with pytest.raises(SourceError, match="brought no pictures"):
        again(tmp_path)
    assert len(internet.asked) == 3 and not [*(tmp_path / "data").rglob(refused.NAME)]
