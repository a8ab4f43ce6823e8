"""Files that are written whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, after a power cut too."""
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    beside.write_bytes(data)
    flush(beside)
    beside.replace(path)


def flush(path: Path) -> None:
    """To the disk, so that a power cut after a rename does not leave an empty file under the new name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link(old: Path, new: Path) -> None:
    """The same file under a second name where the file system can, a copy where it cannot."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
