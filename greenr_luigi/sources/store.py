"""All pictures of a class that ever came from the web, whatever was asked for. Nothing of ours removes any: the web may
have no more of them.

    collected/<label>/<sha16>.<ext>     each picture once, named by its content
    collected/<label>/origins.jsonl     how each came, a line each way

A file that a person deletes there stays away, since its lines are still known. No picture may be written to: outputs
link to it, and an editor that wrote into such a link would change the only copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from greenr_luigi import contracts, files, shared_files
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import Examine, examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal
from greenr_luigi.pictures.terms import STRANGERS, Terms
from greenr_luigi.sources import collected
from greenr_luigi.staleness import regular

#: The lines of what is being put, beside ORIGINS: each is there before its picture, so that a kill parts no two.
UNSAVED = ".unsaved.jsonl"
#: Pictures written at once.
WRITERS = 8


@dataclass(frozen=True)
class Origin(PictureRow):
    """One way in which a picture came: a line of origins.jsonl. `file` is its name beside that, and `fetched` when it
    came first. `asked`: the licence that was asked for, one of RIGHTS. `listed`: it stood in a list that a person made,
    and is used for no longer than it does."""

    asked: str | None = None
    listed: bool = False

    @classmethod
    def of(cls, row: PictureRow, **more: Any) -> Origin:
        return cls(**row.values() | more)

    def as_row(self, **more: Any) -> PictureRow:
        return PictureRow(**self.values() | more)


class Store:
    """The pictures of a class in a folder. `log`: the file of their origins, if they are to be found again. `terms`:
    those on which they are used now. `checked`: what was found of some by today's checks on these terms, by sha256.
    `examine`: by what the others are found out."""

    def __init__(
        self,
        folder: Path,
        log: Path | None = None,
        terms: Terms = STRANGERS,
        checked: Mapping[str, PictureRow] = MappingProxyType({}),
        examine: Examine = examine,
    ) -> None:
        self.folder, self.log = folder, log
        self.origins = contracts.read_log(log, Origin) if log else []
        #: What `save` has yet to write, and so many of it are in UNSAVED.
        self._unsaved: list[Origin] = []
        self._flushed = 0
        self._unwritten: list[tuple[Path, bytes | Path]] = []
        self._writing: list[Future[None]] = []
        self._writers = ThreadPoolExecutor(WRITERS)
        #: What each picture is by today's checks, by sha256. One that is damaged is not here.
        self.pictures: dict[str, PictureRow | Refusal] = {}
        first = {origin.sha256: origin for origin in reversed(self.origins)}
        of_today = examine_all(folder, first.values(), terms, checked, examine)
        for origin, outcome in zip(first.values(), of_today, strict=True):
            if outcome is None and not (folder / origin.file).exists():
                outcome = Refusal("deleted", f"{origin.file} was deleted from {folder}")
            if outcome is not None:
                self.pictures[origin.sha256] = outcome

    def put(self, picture: PictureRow, data: bytes | Path) -> None:
        """Keep a picture, as `picture.file`. `data`: its bytes, or where they lie already. What is to be found again is
        there after the next `flush`."""
        path = self.folder / picture.file
        if self.log:
            self._unwritten.append((path, data))
        elif isinstance(data, Path):
            files.link(data, path)
        else:
            path.write_bytes(data)
        self.pictures[picture.sha256] = picture

    def add(self, origin: Origin) -> None:
        """Note a way in which a picture came."""
        self.origins.append(origin)
        self._unsaved.append(origin)

    def flush(self) -> None:
        """Write the lines, and then begin to write the pictures, of all that were added and put since: what came from
        the web may not come again after a power cut. Those that came together wait for the disk together."""
        if not self.log:
            return
        if new := self._unsaved[self._flushed :]:
            files.refuse_link(self.log.with_name(UNSAVED))
            with regular.opened(self.log.with_name(UNSAVED), "ab") as file:
                file.write(_lines(new))
                file.flush()
                os.fsync(file.fileno())
            self._flushed = len(self._unsaved)
        self._writing += [self._writers.submit(_write, *one) for one in self._unwritten]
        self._unwritten.clear()

    def close(self) -> None:
        """Wait for what is being written."""
        self._writers.shutdown()

    def save(self) -> None:
        """Have what was added be found again."""
        self.flush()
        for written in self._writing:
            written.result()
        self._writing.clear()
        if self.log and self._unsaved:
            lines = _lines(self._unsaved)
            # In place: to write the whole file again would take longer with each picture that is there. What a power
            # cut leaves half-written stands in UNSAVED, too.
            shared_files.append_line(self.log, lambda last, end: lines)
            self.log.with_name(UNSAVED).unlink()
        self._unsaved, self._flushed = [], 0


def _write(path: Path, data: bytes | Path) -> None:
    if isinstance(data, Path):
        files.link(data, path)
    else:
        files.write(path, data)


def _lines(origins: Iterable[Origin]) -> bytes:
    return b"".join(msgspec.json.encode(origin) + b"\n" for origin in origins)


def sound(path: Path, sha256: str) -> bytes | None:
    """The bytes of this picture; None if the file is missing, damaged, or a link, which may lead anywhere."""
    data = regular.read(path) if path.is_file() and not path.is_symlink() else b""
    return data if door.sha256(data) == sha256 else None


def sizes(root: Path) -> dict[Path, int]:
    """The bytes that the store of each class takes, by its folder."""
    # Hidden ones are being written.
    return {
        folder: sum(path.stat().st_size for path in folder.glob("[!.]*"))
        for folder in collected.folders(root)
    }


def examine_all(
    folder: Path,
    rows: Iterable[PictureRow],
    terms: Terms = STRANGERS,
    checked: Mapping[str, PictureRow] = MappingProxyType({}),
    examine: Examine = examine,
) -> list[PictureRow | Refusal | None]:
    """What the pictures of these rows are by today's checks; None for one that is missing or damaged. The others: as of
    Store."""

    def again(row: PictureRow) -> PictureRow | Refusal | None:
        if (data := sound(folder / row.file, row.sha256)) is None:
            return None
        try:
            now = checked.get(row.sha256) or examine(data, row.label, row.engine, terms)
        except door.UnusablePicture as error:
            return Refusal(error.reason, str(error), row.file_url)
        return replace(row, dhash=now.dhash, phash=now.phash)

    with ThreadPoolExecutor() as pool:
        return [*pool.map(again, rows)]
