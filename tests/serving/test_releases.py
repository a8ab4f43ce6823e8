"""Releases: what is damaged is found, and which is the newest."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from greenr_luigi.serving import publishing, releases, removal, rollout
from tests.serving.made import export, three


def test_what_was_touched_is_looked_at_again(tmp_path: Path) -> None:
    store = tmp_path / "s"
    digest = publishing.publish(store, export(tmp_path / "e", "weights").iterdir())
    model = store / digest / "model.onnx"
    releases.verify_touched(store, digest)
    model.touch()
    releases.verify_touched(store, digest)
    before = model.stat()
    model.write_text("weighed")  # As long as before, and as old: what a copy that keeps times brings back.
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file that was published"):
        releases.verify_touched(store, digest)
    model.unlink()
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is missing"):
        releases.verify_touched(store, digest)
    (store / digest / "release.json").unlink()
    with pytest.raises(releases.ReleaseError, match="no release"):
        releases.verify_touched(store, digest)


def test_a_damaged_release_is_refused_and_mended_by_publishing_again(tmp_path: Path) -> None:
    store = tmp_path / "s"
    good, other = (
        publishing.publish(store, export(tmp_path / "e", text).iterdir()) for text in ("weights", "others")
    )
    rollout.point(store, other)
    (store / good / "model.onnx").write_text("weighed")
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is not the file that was published"):
        rollout.point(store, good)
    (store / good / "model.onnx").unlink()
    with pytest.raises(releases.ReleaseError, match=r"model\.onnx is missing"):
        releases.verify(store, good)
    assert rollout.current(store) == other
    assert publishing.publish(store, export(tmp_path / "e", "weights").iterdir()) == good
    releases.verify(store, good)
    note = json.loads((store / good / "release.json").read_text())
    note["files"]["model.json"]["sha256"] = "0" * 64
    (store / good / "release.json").write_text(json.dumps(note))
    with pytest.raises(releases.ReleaseError, match="its list of files has digest"):
        releases.verify(store, good, ["model.onnx"])
    (store / good / "release.json").write_text("[]")
    with pytest.raises(releases.ReleaseError, match="cannot be read"):
        releases.verify(store, good)
    for wrong in ("../../etc", "", "0" * 16):
        with pytest.raises(releases.ReleaseError):
            rollout.point(store, wrong)


def test_the_newest_release_is_told_by_the_history_and_not_by_a_clock(tmp_path: Path) -> None:
    store = tmp_path / "s"
    a, b, c = three(store)
    untried = [publishing.publish(store, export(tmp_path / "e", text).iterdir()) for text in ("d", "e")]
    for seconds, digest in enumerate([*untried, c, b, a], 10**9):
        os.utime(store / digest / "release.json", (seconds, seconds))
    assert releases.releases(store) == [*untried, a, b, c], "what has never served is the first to go"
    assert removal.superfluous(store, 3) == untried
    rollout.point(store, a)
    assert releases.releases(store) == [*untried, b, c, a]


def test_what_is_no_release_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(releases.ReleaseError, match=r"'x' is no release: .*, and there is none yet$"):
        releases.read_note(tmp_path / "none", "x")
    store = tmp_path / "releases"
    known = three(store)
    with pytest.raises(releases.ReleaseError, match=f"expected 16 hex digits, one of {', '.join(known)}$"):
        releases.read_note(store, "x")
    with pytest.raises(releases.ReleaseError, match=f"there are {', '.join(known)}; "):
        releases.read_note(store, "0" * 16)
