"""Releases: immutable folders named by their content, and `current`, the link to the one that serves.

    store/<digest>/       the files of a release, and release.json, which lists them
    store/current         a relative symbolic link to a release, replaced atomically
    store/history.jsonl   each pointing of `current`, oldest first: what a rollback goes back along

Two writers and a `kill -9` are allowed for: what is half-written has a name that starts with a dot, and is
renamed into place whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from greenr_luigi.files import flush, write

#: Without these two a folder is no release: the web application reads them.
REQUIRED = ("model.onnx", "model.json")
#: Says how and when a stage ran, not what it made; in a digest it would make each run a new release.
LEFT_OUT = ("stamp.json", "release.json")
DIGEST = re.compile(r"[0-9a-f]{16}")
#: Pointings that go back: a person's, and a deployment's that did not come to serve.
BACK = ("rollback", "failed")
#: Half-written folders older than this, in seconds, belong to nobody any more.
ABANDONED = 3600.0


class ReleaseError(RuntimeError):
    """A release that cannot be published, found or trusted; the message says what to do."""


def publish(store: Path, files: Path | Iterable[Path], extras: Iterable[Path] = ()) -> str:
    """Copy files into a new immutable release and return its digest; the same files give the same release.

    `files`: a folder (all in it but its stamp), or a list of files and folders; `extras`: more files and
    folders, each copied under its own name. Nothing serves the release until `point`.
    Raises ReleaseError when model.onnx or model.json is missing, or two files have one name.
    """
    chosen = gather(files, extras)
    store.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=store, prefix=".new-"))
    try:
        beside.chmod(0o755)
        listing: dict[str, dict[str, Any]] = {}
        for name, source in sorted(chosen.items()):
            place = beside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            listing[name] = {"sha256": file_digest(place), "size": place.stat().st_size}
            flush(place)
        digest = listing_digest(listing)
        note = {"digest": digest, "files": listing, "created": now()}
        write(beside / "release.json", (json.dumps(note, indent=1) + "\n").encode())
        settle(beside, store / digest)
        flush(store)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return digest


def gather(files: Path | Iterable[Path], extras: Iterable[Path]) -> dict[str, Path]:
    """Name in the release to the file it is copied from."""
    chosen: dict[str, Path] = {}

    def take(name: str, source: Path) -> None:
        if name in LEFT_OUT:
            return
        if name in chosen and chosen[name] != source:
            raise ReleaseError(
                f"two files for {name!r} in a release, {chosen[name]} and {source}: leave one out"
            )
        chosen[name] = source

    def take_folder(folder: Path, prefix: str) -> None:
        for source in sorted(path for path in folder.rglob("*") if path.is_file()):
            take(prefix + source.relative_to(folder).as_posix(), source)

    if isinstance(files, Path) and files.is_dir():
        take_folder(files, "")
        files = ()
    for source in [*([files] if isinstance(files, Path) else files), *extras]:
        if source.is_dir():
            take_folder(source, f"{source.name}/")
        elif source.is_file():
            take(source.name, source)
        else:
            raise ReleaseError(f"{source} is neither a file nor a folder: run the stage that makes it again")
    missing = [name for name in REQUIRED if name not in chosen]
    if missing:
        raise ReleaseError(
            f"no {' and no '.join(missing)} among {sorted(chosen)}: a release needs both; export the model again"
        )
    return chosen


def settle(beside: Path, place: Path) -> None:
    """Rename a complete folder to its place; a sound release already there stays, a damaged one goes."""
    if place.exists():
        try:
            verify(place.parent, place.name)
            return
        except ReleaseError:
            place.rename(beside.with_name(beside.name.replace(".new-", ".damaged-")))
    try:
        beside.rename(place)
    except OSError:
        verify(place.parent, place.name)  # Another publisher was quicker with the same files.


def current(store: Path) -> str | None:
    """The digest that `current` points to, or None. Whether that release is sound, `verify` says."""
    try:
        name = str((store / "current").readlink())
    except OSError:
        return None
    return name if DIGEST.fullmatch(name) else None


def point(store: Path, digest: str, why: str = "deploy") -> None:
    """Make `current` point to a release, atomically, once every file of it is what its digest says.

    Raises ReleaseError from `verify`, and leaves `current` alone then.
    """
    verify(store, digest)
    if current(store) == digest:
        return
    beside = store / f".current-{os.getpid()}-{time.monotonic_ns()}"
    beside.symlink_to(digest)
    beside.replace(store / "current")
    with (store / "history.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"digest": digest, "why": why, "when": now()}) + "\n")
    flush(store)


def verify(store: Path, digest: str, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Check a release's files against its name; returns release.json. `names`: hash these only.

    Raises ReleaseError naming the file, what was expected and what was found; OSError when that cannot be told, which
    may pass.
    """
    remedy = "deploy again, or roll back"
    if not DIGEST.fullmatch(digest):
        raise ReleaseError(f"{digest!r} is no release: expected 16 hex digits, one of {releases(store)}")
    folder = store / digest
    try:
        note = json.loads((folder / "release.json").read_text(encoding="utf-8"))
        listing = {name: (str(entry["sha256"]), int(entry["size"])) for name, entry in note["files"].items()}
        found = listing_digest(note["files"])
    except FileNotFoundError:
        there = releases(store) or "none"
        raise ReleaseError(f"no release {digest} in {store}: there are {there}; {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseError(f"release {digest}: release.json cannot be read ({error!r}); {remedy}") from None
    if found != digest:
        raise ReleaseError(f"release {digest}: its list of files has digest {found}; {remedy}")
    for name in listing if names is None else names:
        try:
            expected, size = listing[name]
            if (folder / name).stat().st_size != size or file_digest(folder / name) != expected:
                raise ReleaseError(
                    f"release {digest}: {name} is not the file that was published "
                    f"({size} bytes, sha256 {expected[:16]}…); {remedy}"
                )
        except (KeyError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ReleaseError(f"release {digest}: {name} is missing; {remedy}") from None
    return dict(note)


def seen(store: Path, digest: str | None) -> list[int] | None:
    """Changes when a release is published anew under its name: one that was refused may be tried again."""
    try:
        found = (store / (digest or "current")).stat()
    except OSError:
        return None
    return [found.st_ino, found.st_mtime_ns]


def releases(store: Path) -> list[str]:
    """The digests of the releases in a store, oldest first."""
    found = [note.parent for note in store.glob("*/release.json") if DIGEST.fullmatch(note.parent.name)]
    found.sort(key=lambda folder: (folder / "release.json").stat().st_mtime_ns)
    return [folder.name for folder in found]


def history(store: Path) -> list[dict[str, str]]:
    """Each pointing of `current`, oldest first: `digest`, `why` ("deploy", "rollback" or "failed"), `when`."""
    try:
        lines = (store / "history.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            rows.append(dict(json.loads(line)))
        except ValueError:
            continue  # The last line of a writer that was killed.
    return rows


def previous(store: Path) -> str | None:
    """The release that served before the current one and is still there; rolling back twice goes back two."""
    stack: list[str] = []
    for row in history(store):
        if row.get("why") in BACK and row["digest"] in stack:
            del stack[stack.index(row["digest"]) + 1 :]
        elif row["digest"] not in stack[-1:]:
            stack.append(row["digest"])
    now_serving, there = current(store), set(releases(store))
    while stack and (stack[-1] == now_serving or stack[-1] not in there):
        stack.pop()
    return stack[-1] if stack else None


def rolled_back(store: Path, digest: str) -> bool:
    """Whether a person has gone back from a release, and nobody has deployed it since."""
    serving, gone = "", set()
    for row in history(store):
        if row.get("why") == "rollback":
            gone.add(serving)
        serving = row["digest"]
        if row.get("why") not in BACK:
            gone.discard(serving)
    return digest in gone


def rollback(store: Path) -> str:
    """Point `current` at the release before it; returns its digest. Raises ReleaseError if there is none."""
    earlier = previous(store)
    if earlier is None:
        raise ReleaseError(
            f"nothing to roll back to: {current(store)} is the first release in {store}; deploy another one"
        )
    point(store, earlier, why="rollback")
    return earlier


def prune(store: Path, keep: int, serving: Collection[str] = (), dry_run: bool = False) -> list[str]:
    """Delete all but the newest `keep` releases, never the current, the one before it or one of those `serving`;
    returns the gone."""
    if keep < 0:
        raise ReleaseError(f"keep={keep}: expected the number of releases to keep, 0 or more")
    there = releases(store)
    kept = {current(store), previous(store), *serving, *there[max(0, len(there) - keep) :]}
    gone = [digest for digest in there if digest not in kept]
    if dry_run:
        return gone
    for digest in gone:
        doomed = store / f".old-{digest}-{time.monotonic_ns()}"
        (store / digest).rename(doomed)
        shutil.rmtree(doomed)
    for left in store.glob(".*-*"):
        if time.time() - left.lstat().st_mtime > ABANDONED:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
    return gone


def listing_digest(listing: dict[str, dict[str, Any]]) -> str:
    """The name of a release: the first 16 hex digits of a SHA-256 over its files' names and digests."""
    lines = "".join(f"{name}\0{listing[name]['sha256']}\n" for name in sorted(listing))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
