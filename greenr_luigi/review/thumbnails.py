"""Thumbnails of a grid, each made once.

    <root>/thumbnails/<2 hex digits>/<sha256 of the picture>.jpg

Pictures are named by their content, so one of these is never out of date. `greenr prune` removes those of pictures that
no output holds any more.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from PIL import Image

from greenr_luigi import cores, files
from greenr_luigi.pictures.thumbnail import thumbnail

FOLDER, NAME = "thumbnails", re.compile(r"[0-9a-f]{64}\.jpg")
#: Pixels of the longer side; bytes that are kept of all.
SIDE, MOST_BYTES = 256, 2**30
#: A decoded picture takes 200 MB at most, so no more than these are decoded at a time.
AT_ONCE = min(4, cores.allowed())


class Thumbnails:
    """Of the pictures under a root. Several threads and processes may use it."""

    def __init__(self, root: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = root / FOLDER, most_bytes
        self._making, self._lock = threading.BoundedSemaphore(AT_ONCE), threading.Lock()
        self._bytes: int | None = None

    def get(self, sha256: str, read: Callable[[], bytes]) -> bytes:
        """As JPEG. `read` gives the picture, if there is no thumbnail of it yet. Raises what it does, and
        UnusablePicture."""
        name = f"{sha256[:2]}/{sha256}.jpg"
        if file := files.opened_own(self.folder, name):
            with file:
                return file.read()
        with self._making:
            made = jpeg(thumbnail(read(), SIDE))
        # Where it cannot be kept, the disk being full or read-only, it is made anew each time.
        with contextlib.suppress(OSError):
            self._keep(self.folder / name, made)
        return made

    def _keep(self, path: Path, data: bytes) -> None:
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(kept.stat().st_size for kept in kept_of(self.folder))
            if self._bytes + len(data) > self.most_bytes:
                return
            self._bytes += len(data)
        files.refuse_link(self.folder, path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, data)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def kept_of(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[0-9a-f][0-9a-f]/*.jpg") if NAME.fullmatch(path.name)]


def left(root: Path, ids: Collection[str]) -> list[Path]:
    """Those of no picture whose id (the first 16 digits of its sha256) is given, and what killed processes left."""
    folder = root / FOLDER
    if folder.is_symlink():
        return []
    torn = [path for path in folder.glob("[0-9a-f][0-9a-f]/.*") if files.is_left_of(path, NAME.pattern)]
    return [*(path for path in kept_of(folder) if path.name[:16] not in ids), *torn]
