"""Processes that a test starts, and which end with it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def started(command: Sequence[str | Path], **how: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, whose output is one pipe if nothing else is said. It is gone when the block is left, however that is:
    one that a failed test left would be complained of in whatever test comes next. That it ends in time, pytest sees
    to: on a busy disk anything may take a minute.
    """
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **how}
    with subprocess.Popen(command, text=True, **given) as process:
        try:
            yield process
        finally:
            process.kill()


def is_alive(pid: str) -> bool:
    """Whether a process, which need be no child of this one, has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
