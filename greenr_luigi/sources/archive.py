"""A zip or tar of a person's pictures, unpacked below the data root: once, by its content.

unpacked/<sha16>/        the files of an archive whose sha256 begins so
unpacked/<sha16>.json    which archive that was, by path, size and time
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts, shared_files
from greenr_luigi.contracts import ContractError
from greenr_luigi.sources.source import SourceError
from greenr_luigi.sources.unpacking import FOREIGN, unpack
from greenr_luigi.staleness import regular

UNPACKED, PARTIAL, LOCK = "unpacked", ".unpacking", ".lock"
SUFFIXES = (
    *(".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz"),
    *(".7z", ".rar", ".tar.zst"),
)
#: How files begin that are taken for archives.
BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", *FOREIGN)
#: The names that are given here.
OURS = re.compile(rf"({re.escape(PARTIAL)}-)?[0-9a-f]{{16}}|[0-9a-f]{{16}}\.json")


@dataclass(frozen=True)
class Note:
    """Which archive it was that was unpacked."""

    archive: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, archive: Path) -> Note:
        status = archive.stat()
        return cls(str(archive), status.st_size, status.st_mtime_ns)


def is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with regular.opened(path) as file:
        head = bytes(file.read(265))
    return head.startswith(BEGINNINGS) or head[257:262] == b"ustar" or path.name.lower().endswith(SUFFIXES)


def opened(folder: Path, root: Path) -> Path:
    """The folder itself or, of an archive, the one that it was unpacked to. Raises SourceError for an archive that is
    torn, encrypted or of a kind that cannot be read, that would write elsewhere, or that holds too much. `root` has
    been marked as a data root."""
    if not is_archive(folder):
        return folder
    try:
        (store := root / UNPACKED).mkdir(parents=True, exist_ok=True)
        if (known := _known(store, folder)) is not None:
            return known
        with shared_files.locked(store / LOCK):
            return _known(store, folder) or _unpacked(store, folder)
    except OSError as error:
        where = f"--folder {folder} cannot be unpacked in {root / UNPACKED}"
        raise SourceError(f"{where}: {error.strerror or error}") from None


def superfluous(root: Path) -> Iterator[Path]:
    """What is below a data root of archives that are gone, or are others by now, and what killed runs left."""
    store = root / UNPACKED
    for path in sorted(store.iterdir()) if store.is_dir() and not store.is_symlink() else ():
        note = path.with_suffix(".json")
        if OURS.fullmatch(path.name) and (path.name.startswith(PARTIAL) or not _holds(note)):
            yield path


def _holds(note: Path) -> bool:
    try:
        known = contracts.read(note, Note)
        return known == Note.of(Path(known.archive))
    except (OSError, ContractError):
        return False


def _known(store: Path, archive: Path) -> Path | None:
    wanted = Note.of(archive)
    for note in store.glob("*.json"):
        try:
            if contracts.read(note, Note) == wanted and note.with_suffix("").is_dir():
                return note.with_suffix("")
        except ContractError:
            continue
    return None


def _unpacked(store: Path, archive: Path) -> Path:
    note = Note.of(archive)
    with regular.reading(archive) as file:
        # Not by staleness.traces, of which an edit would make every collection of a folder stale.
        folder = store / hashlib.file_digest(file, "sha256").hexdigest()[:16]
    if not folder.is_dir():
        partial = store / f"{PARTIAL}-{folder.name}"
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            unpack(archive, partial)
        except BaseException:
            shutil.rmtree(partial)
            raise
        partial.rename(folder)
    contracts.write(folder.with_suffix(".json"), note)
    return folder
