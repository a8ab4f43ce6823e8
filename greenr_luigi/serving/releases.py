"""Releases: immutable folders named by their content, and `current`, the link to the one that serves.

    store/<digest>/       the files of a release, and release.json, which lists them
    store/current         a relative symbolic link to a release, replaced atomically
    store/current.lock    held by whoever decides where it points
    store/history.jsonl   which releases have served, oldest first (history.py)

A release is written (publishing.py) under a name that starts with a dot, and renamed once it is whole. So two
writers do not disturb each other, and `kill -9` leaves no half-written release. rollout.py says which one serves.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError
from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import history
from greenr_luigi.staleness.traces import file_sha256

#: Without these two a folder is no release: the web application reads them.
REQUIRED = ("model.onnx", "model.json")
#: These say how and when a stage ran, not what it made. In the digest they would make each run a new release.
LEFT_OUT = ("stamp.json", "release.json")
DIGEST = re.compile(r"[0-9a-f]{16}")
#: Hidden names that are given here: a link that is about to become `current`, and a folder that is being written, was
#: replaced or is being deleted.
LINK = re.compile(r"\.current-\d+-\d+")
FOLDER = re.compile(rf"\.(new-[a-z0-9_]{{8}}|damaged-[a-z0-9_]{{8}}|old-({DIGEST.pattern}|current)-\d+)")
REMEDY = "deploy again, or roll back"
#: Errors that say that something else lies in a file's place, or nothing. Others, such as EIO or EMFILE, may pass.
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


class ReleaseError(GreenrError):
    """A release that cannot be published, found or trusted."""


@dataclass(frozen=True)
class ReleasedFile:
    """`size` in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class ReleaseNote:
    """release.json: the files of a release by relative name, and when it was published (ISO, UTC)."""

    digest: str
    files: dict[contracts.Name, ReleasedFile]
    created: str = ""


def verify(store: Path, digest: str, names: Iterable[str] | None = None) -> ReleaseNote:
    """Check a release's list of files against its digest, and the files against the list; returns release.json.
    `names`: of the files check only these.

    Raises ReleaseError for a file that is missing or is another; OSError for one that cannot be read just now.
    """
    note = read_note(store, digest)
    if (found := listing_digest(note.files)) != digest:
        raise ReleaseError(f"release {digest}: its list of files has digest {found}; {REMEDY}")
    for name in note.files if names is None else names:
        path, expected = store / digest / name, note.files.get(name)
        with _said_if_not_there(f"release {digest}: {name} is missing; {REMEDY}"):
            if expected is None:
                raise FileNotFoundError(errno.ENOENT, "not listed", name)
            sound = path.stat().st_size == expected.size and file_sha256(path) == expected.sha256
        if not sound:
            raise ReleaseError(
                f"release {digest}: {name} is not the file that was published "
                f"({expected.size} bytes, sha256 {expected.sha256[:16]}…); {REMEDY}"
            )
    return note


def is_sound(store: Path, digest: str, names: Iterable[str] | None = None) -> bool:
    """`names`: as in `verify`."""
    try:
        verify(store, digest, names)
    except (ReleaseError, OSError):
        return False
    return True


def verify_touched(store: Path, digest: str) -> None:
    """As `verify`, but hashes only files that are of another size than published, or changed after release.json was
    written. Whoever sets the time of a file back cannot set back when that was done (st_ctime)."""
    note, folder = read_note(store, digest), store / digest
    published = (folder / "release.json").stat().st_ctime_ns

    def is_touched(name: str) -> bool:
        try:
            status = (folder / name).stat()
        except OSError:
            return True
        return status.st_size != note.files[name].size or status.st_ctime_ns > published

    verify(store, digest, filter(is_touched, note.files))


def read_note(store: Path, digest: str) -> ReleaseNote:
    """The release.json of a release. Raises ReleaseError if there is none, or none that can be read."""
    if not DIGEST.fullmatch(digest):
        there = f"one of {', '.join(known)}" if (known := releases(store)) else "and there is none yet"
        raise ReleaseError(f"{digest!r} is no release: expected 16 hex digits, {there}")
    there = ", ".join(other for other in releases(store) if other != digest) or "no others"
    with _said_if_not_there(f"no release {digest} in {store}: there are {there}; {REMEDY}"):
        try:
            return contracts.read(store / digest / "release.json", ReleaseNote, REMEDY)
        except ContractError as error:
            raise ReleaseError(f"release {digest}: {error}") from None


@contextlib.contextmanager
def _said_if_not_there(words: str) -> Iterator[None]:
    """Raises ReleaseError with these words where a file is missing, or something else in its place."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        raise ReleaseError(words) from None


def identity(store: Path, digest: str | None) -> tuple[int, int] | None:
    """The inode and time of a release's folder; None if there is none. They change when a damaged release is published
    anew under its digest, so that one that was refused is tried again."""
    try:
        status = (store / (digest or "current")).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def releases(store: Path) -> list[str]:
    """The digests of the releases in a store: those that have never served, oldest first, then the others, the last to
    serve last. The history tells that, as clocks are set back."""
    served = {entry.digest: place for place, entry in enumerate(history.read(store))}
    notes = {note.parent.name: note for note in store.glob("*/release.json")}
    return sorted(
        filter(DIGEST.fullmatch, notes),
        key=lambda digest: (served.get(digest, -1), notes[digest].lstat().st_mtime_ns),
    )


def listing_digest(listing: dict[str, ReleasedFile]) -> str:
    """The name of a release: the first 16 hex digits of a SHA-256 over its files' names and digests."""
    lines = "".join(f"{name}\0{listing[name].sha256}\n" for name in sorted(listing))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
