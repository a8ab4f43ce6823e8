"""What a server writes is for its own user alone, and what is not its own stays as it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from greenr_luigi.serving import feedback_store, privacy
from tests import tiny_release
from tests.staleness.test_regular import in_the_place_of

LEFT_OPEN = [
    *("server/gunicorn.log", "server/gunicorn.log.1", "server/gunicorn.pid", "server/lock", "server/stopped"),
    *("server/loading-0.lock", "server/workers/7.json", "server/workers", "server/metrics-123", "server"),
    *("feedback/grass/0123456789abcdef.jpg", "feedback/grass", "feedback/feedback.jsonl", "feedback"),
]
FOREIGN = ["server/notes.txt", "server/workers/notes.txt", "feedback/notes.txt", "feedback/mine/notes.txt"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_earlier_versions_left_open_is_closed_and_nothing_else(tmp_path: Path) -> None:
    for name in [*LEFT_OPEN, *FOREIGN]:
        path = tmp_path / name
        if path.suffix or path.name in ("lock", "stopped"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(0o644)
        else:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
    (tmp_path / "elsewhere").touch(0o644)
    (tmp_path / "server" / "loading-1.lock").symlink_to(tmp_path / "elsewhere")
    privacy.close_to_others(tmp_path / "releases", tmp_path / "server")
    assert {mode(tmp_path / name) & 0o077 for name in LEFT_OPEN} == {0}
    assert {mode(tmp_path / name) for name in [*FOREIGN, "elsewhere"]} == {0o644}


def test_what_lies_in_a_folder_that_is_closed_is_not_looked_at(tmp_path: Path) -> None:
    """One look a picture would hold up each start of the server."""
    kept = tmp_path / "feedback" / "grass" / "0123456789abcdef.jpg"
    kept.parent.mkdir(parents=True)
    kept.touch(0o644)
    for folder, left in ((0o700, 0o644), (0o750, 0o600)):
        (tmp_path / "feedback").chmod(folder)
        privacy.close_to_others(tmp_path / "releases", None)
        assert (mode(kept), mode(tmp_path / "feedback")) == (left, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.parametrize("kind", ["pipe", "device", "circle"])
def test_the_page_serves_on_where_something_else_is_in_the_place_of_feedback(
    kind: str, tmp_path: Path
) -> None:
    in_the_place_of(tmp_path / "feedback", kind)
    privacy.close_to_others(tmp_path / "releases", None)


def test_what_belongs_to_another_user_stays(tmp_path: Path) -> None:
    path = tmp_path / "server" / "gunicorn.log"
    path.parent.mkdir()
    path.touch(0o644)
    os.chown(path, 65534, 65534)
    privacy.close_to_others(tmp_path / "releases", tmp_path / "server")
    assert mode(path) == 0o644


def test_feedback_is_kept_where_others_do_not_look(tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    feedback_store.keep(folder, tiny_release.picture(), "grass", "", "")
    assert mode(folder) == mode(folder / "grass") == 0o700
