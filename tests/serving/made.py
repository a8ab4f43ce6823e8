"""Releases without a model in them, for tests of the store."""

from __future__ import annotations

import os
from pathlib import Path

from greenr_luigi.serving import publishing, rollout


def export(folder: Path, text: str = "weights", **more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.onnx": text, "model.json": "{}", "stamp.json": os.urandom(4).hex(), **more}
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def three(store: Path) -> list[str]:
    """Three releases that have served one after the other."""
    digests = [publishing.publish(store, export(store.parent / "e", text).iterdir()) for text in "abc"]
    for digest in digests:
        rollout.point(store, digest)
    return digests
