"""What takes long to make, made once a test run: by the process that wants it first, for all processes."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

#: The folder of this test run, the same in all of its processes; tests/conftest.py sets it.
folder = Path()


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of this test run. It is empty when `make` fills it, and nobody may change it afterwards.

    A folder that another process gave up on is made again, by the same name: a path to it may be part of its content.
    """
    made, finished = folder / name, folder / f"{name}.finished"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            make(made)
            finished.touch()
    return made
