"""Thumbnails that are each made once, ever: for the grid of `greenr review`, the report, and a release's model page.
They are kept by the pictures' content (kept.py), so that one of these is never out of date."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from greenr_luigi import cores
from greenr_luigi.kept import THUMBNAILS, Kept, digest_of, versions
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import CODE, LIBRARIES
from greenr_luigi.pictures.thumbnail import encoded, thumbnail

#: Pixels of the longer side; bytes that are kept of all.
SIDE, MOST_BYTES = 256, 2**30
#: A decoded picture takes 200 MB at most, so no more than these are decoded at a time.
AT_ONCE = min(4, cores.allowed())


class Thumbnails:
    """Of the pictures under a root; None: nothing is kept. Several threads and processes may use it."""

    def __init__(self, root: Path | None, most_bytes: int = MOST_BYTES) -> None:
        self._root, self._most_bytes = root, most_bytes
        self._making, self._lock = threading.BoundedSemaphore(AT_ONCE), threading.Lock()
        self._kept: Kept | None = None

    def get(self, sha256: str, read: Callable[[], bytes]) -> bytes:
        """As JPEG. `sha256`: of the picture, or its first 16 digits. `read` gives the picture, if there is no thumbnail
        of it yet. Raises what it does, and UnusablePicture."""
        content, kept = sha256[:16], self._opened()
        if kept and (small := kept.get(content)) is not None:
            return small
        with self._making:
            made = encoded(thumbnail(data := read(), SIDE))
        # Not of another picture that has come to lie there.
        if kept and door.sha256(data).startswith(content):
            kept.keep({content: made})
            # Each may be the last before somebody ends the program.
            kept.flush()
        return made

    def _opened(self) -> Kept | None:
        """Where nothing can be kept, the disk being full or read-only, each is made anew."""
        with self._lock:
            if self._kept is None and self._root:
                digest = digest_of(SIDE, CODE, versions(LIBRARIES))
                self._kept = Kept(self._root / THUMBNAILS, digest, lambda words: None, self._most_bytes)
        return self._kept
