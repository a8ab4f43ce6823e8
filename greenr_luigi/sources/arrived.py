"""What comes faster than it can be checked: it waits on the disk, too, so that it is not asked for again after a kill.

collected/<label>/.arrived    of each a line, and then its bytes, until the class is collected or cannot be. A line has
                              the digest of the address and of the terms on which it was asked, the size, the sha256
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import IO

from greenr_luigi import files
from greenr_luigi.sources import refused
from greenr_luigi.sources.source import Request
from greenr_luigi.staleness import regular

NAME = ".arrived"


class Arrived:
    """`folder`: the store's of the class; None for a source of which nothing is kept. What a run before has left counts
    as long as what that was refused does; not if `anew`. One thread keeps, others may get meanwhile."""

    def __init__(self, folder: Path | None, request: Request, anew: bool = False) -> None:
        self._path, self._terms = folder and folder / NAME, refused.terms(request)
        #: Where the bytes of an earlier run begin and end.
        self._there: dict[str, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None
        if self._path:
            files.refuse_link(self._path)
            if self._path.exists():
                if anew or not refused.stands(self._path.stat().st_mtime):
                    self.end()
                else:
                    self._find()

    def _find(self) -> None:
        """What is there whole. The rest, in the midst of which the run was killed, goes."""
        assert self._path
        with regular.opened(self._path, "r+b") as file:
            whole = 0
            with contextlib.suppress(ValueError):
                while line := file.readline(200):
                    name, size, sha256 = line.decode().split()
                    begins, data = file.tell(), file.read(int(size))
                    if hashlib.sha256(data).hexdigest() != sha256:
                        break
                    self._there[name], whole = (begins, begins + len(data)), file.tell()
            file.truncate(whole)

    def get(self, address: str) -> bytes | None:
        """What a run that was killed had from there."""
        if not (at := self._there.get(self._name(address))) or not self._path:
            return None
        with regular.opened(self._path) as file:
            file.seek(at[0])
            return bytes(file.read(at[1] - at[0]))

    def keep(self, address: str, data: bytes) -> None:
        name = self._name(address)
        if self._path and name not in self._there:
            self._file = self._file or regular.opened(self._path, "ab")
            self._file.write(f"{name} {len(data)} {hashlib.sha256(data).hexdigest()}\n".encode() + data)
            # To the kernel, which a kill leaves alone. To the disk, for a power cut, takes longer than all the rest.
            self._file.flush()

    def end(self) -> None:
        """All of it is in the store by now, or is of no use."""
        if self._file:
            self._file.close()
        if self._path:
            self._path.unlink(missing_ok=True)

    def _name(self, address: str) -> str:
        asked = f"{self._terms}\n{address}".encode(errors="surrogatepass")
        return hashlib.blake2b(asked, digest_size=16).hexdigest()
