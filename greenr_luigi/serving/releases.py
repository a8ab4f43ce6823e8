"""Releases: immutable folders named by their content, and `current`, the link to the one that serves.

    store/<digest>/       the files of a release, and release.json, which lists them
    store/current         a relative symbolic link to a release, replaced atomically
    store/current.lock    held by whoever decides where it points
    store/history.jsonl   which releases have served, oldest first (history.py)

A release is written under a name that starts with a dot, and renamed once it is whole. So two writers do not disturb
each other, and `kill -9` leaves no half-written release.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from greenr_luigi import contracts, files
from greenr_luigi.contracts import ContractError
from greenr_luigi.errors import GreenrError
from greenr_luigi.files import flush
from greenr_luigi.serving import history
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.output_folder import lock
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
#: Seconds to wait for another deployment: judging, publishing and starting take minutes.
PATIENCE = 3600.0
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


def publish(store: Path, sources: Iterable[Path]) -> str:
    """Copy files and folders, each under its own name, into a new immutable release, and return its digest. The same
    files give the same release. Nothing serves it before `point`.

    Raises ReleaseError when model.onnx or model.json is missing, a file is a link, or two have one name.
    """
    chosen = files_by_name(sources)
    store.mkdir(parents=True, exist_ok=True)
    unfinished = store / f".new-{uuid.uuid4().hex[:8]}"
    try:
        unfinished.mkdir()
        listing: dict[str, ReleasedFile] = {}
        for name, source in sorted(chosen.items()):
            copy = unfinished / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, name, copy)
            flush(copy)
            listing[name] = ReleasedFile(file_sha256(copy), copy.stat().st_size)
        digest = listing_digest(listing)
        contracts.write(unfinished / "release.json", ReleaseNote(digest, listing, now()))
        move_into_store(unfinished, store / digest)
        flush(store)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return digest


def _copy(source: Path, name: str, copy: Path) -> None:
    """Copy the file of a release that is called so. Raises ReleaseError for a link in its place, or a folder's."""
    original = files.opened_own(source.parents[name.count("/")], name)
    if original is None:
        raise ReleaseError(
            f"{source} is a link, and may lead anywhere: expected a file of the model; remove it"
        )
    with original, regular.opened(copy, "xb") as new:
        shutil.copyfileobj(original, new)


def files_by_name(sources: Iterable[Path]) -> dict[str, Path]:
    """Each file of a release by its name there."""
    chosen: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise ReleaseError(f"{source} is neither a file nor a folder: run the stage that makes it again")
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            name = path.relative_to(source.parent).as_posix()
            if name in LEFT_OUT or not path.is_file():
                continue
            if chosen.setdefault(name, path) != path:
                raise ReleaseError(
                    f"two files for {name!r} in a release, {chosen[name]} and {path}: leave one out"
                )
    if missing := [name for name in REQUIRED if name not in chosen]:
        raise ReleaseError(
            f"no {' and no '.join(missing)} among {sorted(chosen)}: a release needs both; export the model again"
        )
    return chosen


def move_into_store(unfinished: Path, release: Path) -> None:
    """Rename a complete folder to its name. A sound release that is there already stays, a damaged one goes."""
    if os.path.lexists(release):
        try:
            verify(release.parent, release.name)
            return
        except ReleaseError:
            release.rename(unfinished.with_name(unfinished.name.replace(".new-", ".damaged-")))
    try:
        unfinished.rename(release)
    except OSError:
        verify(release.parent, release.name)  # Another publisher was quicker with the same files.


def locked(store: Path, on_wait: Callable[[str], None]) -> AbstractContextManager[None]:
    """Nobody else changes which release of a store serves meanwhile. `on_wait` gets a sentence that says for whom this
    waits, if it does. Raises LockTimeoutError after `PATIENCE` seconds."""
    return (
        lock(store / "current", fcntl.LOCK_EX, on_wait, PATIENCE)
        if store.is_dir()
        else contextlib.nullcontext()
    )


def current(store: Path) -> str | None:
    """The digest that `current` points to, or None. Whether that release is sound, `verify` says."""
    try:
        name = str((store / "current").readlink())
    except OSError:
        return None
    return name if DIGEST.fullmatch(name) else None


def point(store: Path, digest: str, why: history.Reason = "deploy") -> None:
    """Make `current` point to a release, atomically, after every file of it was checked against its digest.

    Raises ReleaseError from `verify`, OSError at a full disk, and leaves `current` alone then.
    """
    verify(store, digest)
    # Before the link: whatever comes in between, the next start points to what the history says (`last_good`).
    if history.way_back(store)[:1] != [digest]:
        history.append(store, history.Entry(digest, why, now()))
    _link(store, digest)


@contextlib.contextmanager
def trial(store: Path, digest: str, before: str | None) -> Iterator[None]:
    """`current` points to a release while the block looks whether it serves, and stays there if the block ends well.
    However else it ends, `current` points to the release `before`, or to none. Only for whoever locks the store."""
    with contextlib.ExitStack() as undo:
        undo.callback(_point_back, store, digest, before)
        _link(store, verify(store, digest).digest)
        yield
        point(store, digest)
        undo.pop_all()


def _point_back(store: Path, digest: str, before: str | None) -> None:
    if current(store) != digest:
        return  # Somebody has pointed it elsewhere since.
    if before is None:
        (store / "current").unlink()
    else:
        _link(store, before)


def _link(store: Path, digest: str) -> None:
    if current(store) == digest:
        return
    path = store / "current"
    if path.is_dir() and not path.is_symlink():
        # A copy of the store that followed its links.
        if not (path / "release.json").exists():
            raise ReleaseError(f"{path} is a folder, and no release: expected a link to one; move it away")
        path.rename(store / f".old-current-{time.monotonic_ns()}")
    link = store / f".current-{os.getpid()}-{time.monotonic_ns()}"
    link.symlink_to(digest)
    link.replace(path)
    flush(store)


def last_good(store: Path) -> str | None:
    """The release that was the last to serve and is still sound; None if there is none. `current` points to another one
    if that one is damaged, or if a deployment that tried it was killed."""
    candidates = [*history.way_back(store), current(store)]
    return next((digest for digest in candidates if digest and is_sound(store, digest)), None)


def none_has_served(store: Path) -> ReleaseError:
    """What to do where `last_good` gives none. With `current` and the history both lost, no release is taken by a
    guess: the newest may be one that a person had rolled back."""
    sound = {
        digest: read_note(store, digest).created for digest in releases(store) if is_sound(store, digest)
    }
    if not sound:
        return ReleaseError(f"no sound release in {store}: run `luigi --module tasks DeployApp`")
    listed = ", ".join(f"{digest} of {sound[digest]}" for digest in sorted(sound, key=sound.__getitem__))
    return ReleaseError(
        f"it is not known which release in {store} served last, for `current` and {history.FILE} do not say so; sound "
        f"are {listed}: choose one with `greenr rollback RELEASE`"
    )


def rollback(store: Path, on_wait: Callable[[str], None] = lambda _: None, to: str | None = None) -> str:
    """Point `current` at a release, or at the last sound one before it; returns its digest. `on_wait`: as in `locked`.
    Raises ReleaseError if there is none."""
    with locked(store, on_wait):
        if to is None and releases(store) and last_good(store) is None:
            raise none_has_served(store)
        earlier = to or next((digest for digest in served_before(store) if is_sound(store, digest)), None)
        if earlier is None:
            raise ReleaseError(
                f"nothing to roll back to: no sound release in {store} has served before"
                f" {serving(store) or 'one'}; deploy another one"
            )
        point(store, earlier, why="rollback")
        return earlier


def serving(store: Path) -> str | None:
    """The current release; where the link is lost, the one that was the last to serve."""
    return current(store) or next(iter(history.way_back(store)), None)


def served_before(store: Path) -> list[str]:
    """The releases that served before the one that serves and are still there, the last one first: rolling back twice
    goes back two."""
    candidates = set(releases(store)) - {serving(store)}
    return [digest for digest in history.way_back(store) if digest in candidates]


def previous(store: Path) -> str | None:
    """The release that a rollback leads to."""
    return next(iter(served_before(store)), None)


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


def rolled_back(store: Path, digest: str) -> bool:
    """Whether a person has gone back from a release, or from another one of the same model, of which no more than the
    report differs: then no rerun brings it back until there is another model."""
    left = history.left(store)
    if not left or digest in left:
        return digest in left

    def model(release: str) -> list[ReleasedFile]:
        with contextlib.suppress(ReleaseError):
            listed = read_note(store, release).files
            return [listed[name] for name in REQUIRED if name in listed]
        return []

    return model(digest) in [each for each in map(model, left) if each]


def read_note(store: Path, digest: str) -> ReleaseNote:
    """The release.json of a release. Raises ReleaseError if there is none, or none that can be read."""
    if not DIGEST.fullmatch(digest):
        raise ReleaseError(f"{digest!r} is no release: expected 16 hex digits, one of {releases(store)}")
    there = [other for other in releases(store) if other != digest] or "no others"
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


def superfluous(store: Path, keep: int, serving: Collection[str] = ()) -> list[str]:
    """All but the last `keep` of `releases`, the current, the one before it and those `serving`. A copy that a person
    made under another name is none of ours, and takes the place of none that is kept."""
    digests = [
        digest
        for digest in releases(store)
        if not (store / digest).is_symlink() and is_sound(store, digest, names=())
    ]
    kept = {current(store), previous(store), *serving, *digests[max(0, len(digests) - keep) :]}
    return [digest for digest in digests if digest not in kept]


def leftovers(store: Path) -> list[Path]:
    """What killed writers left, by the names that are given here. A living one has such, too."""
    return [
        path
        for path in sorted(store.glob(".*"))
        if (LINK.fullmatch(path.name) and path.is_symlink())
        or (FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
    ]


def remove(store: Path, digest: str) -> None:
    """Delete a release: at once under its name, so that nobody takes half of it for a release."""
    renamed = store / f".old-{digest}-{time.monotonic_ns()}"
    (store / digest).rename(renamed)
    shutil.rmtree(renamed)


def listing_digest(listing: dict[str, ReleasedFile]) -> str:
    """The name of a release: the first 16 hex digits of a SHA-256 over its files' names and digests."""
    lines = "".join(f"{name}\0{listing[name].sha256}\n" for name in sorted(listing))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
