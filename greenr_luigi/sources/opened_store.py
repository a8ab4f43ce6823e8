"""The store of a class, opened by one run at a time, with all that came from the web before: what a run that was killed
put there, and what collections hold that were made before there was a store."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from greenr_luigi import contracts, files, shared_files
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import Examine, examine
from greenr_luigi.pictures.manifest import MANIFEST, PictureRow
from greenr_luigi.pictures.terms import STRANGERS, TAKEN, Terms
from greenr_luigi.sources import collected
from greenr_luigi.sources.collected import ORIGINS
from greenr_luigi.sources.store import UNSAVED, Origin, Store, sound
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.locks import OnWait

#: The names of these files, as a pattern.
PICTURE = r"[0-9a-f]{16}\.\w+"
NAMES = rf"{PICTURE}|origins\.jsonl"
#: The bits of a mode that let somebody write.
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

#: The folder of a collection, the licence that was asked for, and a picture there.
Found = tuple[Path, str | None, PictureRow]


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
    with shared_files.locked(folder.with_name(f".{folder.name}.lock"), on_wait):
        for path in folder.iterdir():
            if files.is_left_of(path, NAMES):
                path.unlink()
        _save_what_was_put(folder)
        try:
            yield folder
        finally:
            for path, mode in _pictures(folder):
                if mode & WRITABLE:
                    # Another user's, if not.
                    with contextlib.suppress(PermissionError):
                        path.chmod(mode & ~WRITABLE)


def _pictures(folder: Path) -> list[tuple[Path, int]]:
    """Sorted, with their modes. There may be a million, each looked at once."""
    with os.scandir(folder) as entries:
        modes = {
            entry.name: entry.stat(follow_symlinks=False).st_mode
            for entry in entries
            if re.fullmatch(PICTURE, entry.name)
        }
    return [(folder / name, stat.S_IMODE(modes[name])) for name in sorted(modes) if stat.S_ISREG(modes[name])]


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
    for path, _ in _pictures(folder):
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
