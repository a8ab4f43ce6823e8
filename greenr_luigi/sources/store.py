"""All pictures of a class that ever came from the web, whatever was asked for. Nothing of ours removes any: the web may
have no more of them.

    collected/<label>/<sha16>.<ext>     each picture once, named by its content
    collected/<label>/origins.jsonl     how each came, a line each way

A file that a person deletes there stays away, since its lines are still known. No picture may be written to: outputs
link to it, and an editor that wrote into such a link would change the only copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import re
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from greenr_luigi import contracts, files
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import Examine, examine
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow, Refusal
from greenr_luigi.pictures.terms import STRANGERS, TAKEN, Terms
from greenr_luigi.sources import collected
from greenr_luigi.sources.collected import ORIGINS
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.locks import OnWait

#: The lines of what is being put, beside ORIGINS: each is there before its picture, so that a kill parts no two.
UNSAVED = ".unsaved.jsonl"
#: Pictures written at once.
WRITERS = 8
#: The names of these files, as a pattern.
PICTURE = r"[0-9a-f]{16}\.\w+"
NAMES = rf"{PICTURE}|origins\.jsonl"

#: The bits of a mode that let somebody write.
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

#: The folder of a collection, the licence that was asked for, and a picture there.
Found = tuple[Path, str | None, PictureRow]


@dataclass(frozen=True)
class Origin(PictureRow):
    """One way in which a picture came: a line of origins.jsonl. `file` is its name beside that, and `fetched` when it
    came first. `asked`: the licence that was asked for, one of RIGHTS. `listed`: it stood in a list that a person made,
    and is used for no longer than it does."""

    asked: str | None = None
    listed: bool = False

    @classmethod
    def of(cls, row: PictureRow, **more: Any) -> Origin:
        return cls(**dataclasses.asdict(row) | more)

    def as_row(self, **more: Any) -> PictureRow:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(PictureRow)}
        return PictureRow(**values | more)


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
            files.append_line(self.log, lambda last, end: lines)
            self.log.with_name(UNSAVED).unlink()
        self._unsaved, self._flushed = [], 0


def _write(path: Path, data: bytes | Path) -> None:
    if isinstance(data, Path):
        files.link(data, path)
    else:
        files.write(path, data)


def _lines(origins: Iterable[Origin]) -> bytes:
    return b"".join(msgspec.json.encode(origin) + b"\n" for origin in origins)


@contextlib.contextmanager
def opened(
    root: Path,
    label: str,
    earlier: Mapping[Path, str],
    on_wait: OnWait,
    terms: Terms = STRANGERS,
    checked: Mapping[str, PictureRow] = MappingProxyType({}),
    examine: Examine = examine,
) -> Iterator[Store]:
    """The store of a class, alone: another run waits, and then finds what this one collected. `earlier` is taken in.
    The others: as of Store."""
    with _locked(root, label, on_wait) as folder:
        _take_in(folder, label, _from_web(earlier))
        with contextlib.closing(Store(folder, folder / ORIGINS, terms, checked, examine)) as pictures:
            yield pictures


def take_in(root: Path, label: str, earlier: Mapping[Path, str], on_wait: OnWait) -> None:
    """Have what came from the web stay in the store of a class. `earlier`: folders of collections, also of versions
    that had no store, with the licence that was asked for."""
    if rows := _from_web(earlier):
        with _locked(root, label, on_wait) as folder:
            _take_in(folder, label, rows)


def _from_web(earlier: Mapping[Path, str]) -> list[Found]:
    """What collections hold of the web. What is of no moment is a person's own, or drawn."""
    return [
        (collection, license or None, row)
        for collection, license in earlier.items()
        for row in contracts.read_log(collection / MANIFEST, PictureRow)
        if row.fetched
    ]


@contextlib.contextmanager
def _locked(root: Path, label: str, on_wait: OnWait) -> Iterator[Path]:
    folder = collected.folder(root, label)
    files.refuse_strange_link(folder.parent, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder.with_name(f".{folder.name}.lock"), on_wait):
        for path in folder.iterdir():
            if files.is_left_of(path, NAMES):
                path.unlink()
        _save_what_was_put(folder)
        try:
            yield folder
        finally:
            for path in _pictures(folder):
                if (mode := path.stat().st_mode) & WRITABLE:
                    # Another user's, if not.
                    with contextlib.suppress(PermissionError):
                        path.chmod(mode & ~WRITABLE)


def _pictures(folder: Path) -> list[Path]:
    paths = (path for path in sorted(folder.iterdir()) if re.fullmatch(PICTURE, path.name))
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _save_what_was_put(folder: Path) -> None:
    """Find again what a run put that was cut short. A line whose picture did not get there says nothing."""
    if unsaved := contracts.read_log(folder / UNSAVED, Origin):
        saved = set(contracts.read_log(folder / ORIGINS, Origin))
        put = [o for o in unsaved if o not in saved and sound(folder / o.file, o.sha256)]
        contracts.append_log(folder / ORIGINS, *put)
    (folder / UNSAVED).unlink(missing_ok=True)


def _take_in(folder: Path, label: str, rows: Sequence[Found]) -> None:
    origins = contracts.read_log(folder / ORIGINS, Origin)
    names = {origin.sha256: origin.file for origin in origins}
    here = {*names, *_take_in_files(folder, names, rows)}
    ways = set[tuple[str, str | None, str | None]]()

    def note(origin: Origin) -> None:
        names.setdefault(origin.sha256, origin.file)
        if not origin.listed:
            # What was found under a licence is found under none, too.
            ways.update((origin.sha256, origin.file_url, asked) for asked in (origin.asked, None))

    for origin in origins:
        note(origin)
    new: list[Origin] = []
    for _, asked, row in rows:
        # What was not searched for stood in a list.
        listed = row.query is None
        known = row.sha256 in names and (listed or (row.sha256, row.file_url, asked) in ways)
        if row.sha256 in here and not known:
            name = names.get(row.sha256, Path(row.file).name)
            new.append(Origin.of(row, file=name, label=label, asked=asked, listed=listed))
            note(new[-1])
    new += _without_line(folder, label, {*names.values()})
    if new:
        new.sort(
            key=lambda origin: (origin.fetched, origin.sha256, origin.file_url or "", origin.asked or "")
        )
        contracts.append_log(folder / ORIGINS, *new)


def _without_line(folder: Path, label: str, names: Container[str]) -> Iterator[Origin]:
    """Lines for pictures that were put here by a run that was cut short, and are nowhere else. `names`: those that have
    a line."""
    for path in _pictures(folder):
        if path.name not in names and door.sha256(data := regular.read(path))[:16] == path.stem:
            came = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC).isoformat(
                timespec="seconds"
            )
            with contextlib.suppress(door.UnusablePicture):
                yield Origin.of(
                    examine(data, label, "unknown", TAKEN), file=path.name, query=label, fetched=came
                )


def _take_in_files(folder: Path, names: Mapping[str, str], rows: Sequence[Found]) -> set[str]:
    """Have a sound file in the store of each picture of which any collection holds one, but for what a person deleted.
    `names`: those that have a line, by sha256. Returns the sha256 of what was seen to be sound."""
    seen = set[str]()
    for collection, _, row in rows:
        theirs, ours = collection / row.file, folder / names.get(row.sha256, Path(row.file).name)
        has_line = row.sha256 in names
        deleted = has_line and not ours.exists()
        # A link to ours has what ours has: most are, and need not be read.
        same = has_line and theirs.exists() and ours.exists() and theirs.samefile(ours)
        if row.sha256 in seen or deleted or same:
            continue
        if not sound(ours, row.sha256):
            if not sound(theirs, row.sha256):
                continue
            files.link(theirs, ours)
            if not ours.samefile(theirs):
                # What it was copied from may be removed next, and a power cut come after that.
                files.flush(ours)
        seen.add(row.sha256)
    return seen


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
