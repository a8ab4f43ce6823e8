"""A class that is being collected when the run is killed: the next one asks for the rest alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from greenr_luigi.pictures.manifest import Refusal, read_jsonl
from greenr_luigi.sources import collected, refused, registry
from greenr_luigi.sources.collection import FIRST, Before, collect
from greenr_luigi.sources.source import Request, SourceError
from tests.progress import quiet
from tests.serving.looking import until
from tests.sources.conftest import Answer, Internet, Query

pytestmark = pytest.mark.slow

URL = "https://pictures.example/{}.jpg"
LAST = URL.format(12)
COLLECT = """
import sys
from pathlib import Path
from tests.sources.collecting import collect_from
collect_from("urls", "grass", Path(sys.argv[1]) / "killed", 0, Path(sys.argv[1]))
"""


@pytest.fixture
def killed(internet: Internet, tmp_path: Path) -> Path:
    """The folder of a list, whose collection was killed while it waited for the last address."""
    numbers = [*range(12), *range(1000, 1006), *range(2000, 2006), 3000, 12]
    (tmp_path / "grass.txt").write_text("\n".join(URL.format(number) for number in numbers))
    log = collected.folder(tmp_path / "data", "grass") / refused.NAME
    process: subprocess.Popen[bytes] | None = None
    own = internet.hosts["pictures.example"]

    def host(path: str, query: Query) -> Answer:
        if path == "/12.jpg" and process:
            until(lambda: len([*log.parent.glob("[!.]*.jpg")]) == 12)
            until(lambda: log.exists() and log.read_bytes().count(b"\n") == 13)
            process.send_signal(signal.SIGKILL)
        return own(path, query)

    internet.hosts["pictures.example"] = host
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECT, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
    )
    assert process.wait(120) == -signal.SIGKILL
    process = None
    assert {*internet.asked} == {URL.format(number) for number in numbers}
    internet.asked.clear()
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
