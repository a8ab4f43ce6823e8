"""What a server writes is for its own user alone: the log, locks, and the pictures of visitors.

Only what the server names is closed, and of that only what belongs to its user: the rest stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.serving import feedback_store

#: What lies in the folder of a server; and in that of a label of feedback.
OWN = re.compile(r"gunicorn\.(log(\.\d+)?|pid)|(loading-\d+\.)?lock|stopped|workers|metrics-\d+")
KEPT = re.compile(r"[0-9a-f]{16}\.[a-z0-9]+")


def close_to_others(store: Path, run_dir: Path | str | None) -> None:
    """Close to others what servers of a store and a run_dir have written, also those of versions that left it open."""
    for path in _of_feedback(feedback_store.feedback_folder(store)):
        files.make_private(path)
    if run_dir:
        for path in _of_server(Path(run_dir)):
            files.make_private(path)


def _of_server(run_dir: Path) -> Iterator[Path]:
    yield run_dir
    for path in sorted(run_dir.glob("*")):
        if OWN.fullmatch(path.name):
            yield path
            if path.is_dir():
                yield from path.glob("*.json")


def _of_feedback(folder: Path) -> Iterator[Path]:
    # The page serves on where something else lies in its place. Nobody else gets to what is in a closed one, which may
    # be a great many pictures.
    if not folder.is_dir() or not folder.stat().st_mode & 0o077:
        return
    yield folder / feedback_store.LOG
    for label in sorted(folder.glob("*/")):
        if kept := [path for path in label.glob("*") if KEPT.fullmatch(path.name)]:
            yield label
            yield from kept
    # Last: where this is cut short, the next start goes on.
    yield folder
