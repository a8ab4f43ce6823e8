"""Which release serves: pointing `current` at one, trying one, and going back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from greenr_luigi.files import flush
from greenr_luigi.serving import history, releases
from greenr_luigi.serving.releases import DIGEST, REQUIRED, ReleasedFile, ReleaseError, is_sound, verify
from greenr_luigi.staleness.output_folder import lock

#: Seconds to wait for another deployment: judging, publishing and starting take minutes.
PATIENCE = 3600.0


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
        history.append(store, history.Entry(digest, why, releases.now()))
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
        digest: releases.read_note(store, digest).created
        for digest in releases.releases(store)
        if is_sound(store, digest)
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
        if to is None and releases.releases(store) and last_good(store) is None:
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
    candidates = set(releases.releases(store)) - {serving(store)}
    return [digest for digest in history.way_back(store) if digest in candidates]


def previous(store: Path) -> str | None:
    """The release that a rollback leads to."""
    return next(iter(served_before(store)), None)


def rolled_back(store: Path, digest: str) -> bool:
    """Whether a person has gone back from a release, or from another one of the same model, of which no more than the
    report differs: then no rerun brings it back until there is another model."""
    left = history.left(store)
    if not left or digest in left:
        return digest in left

    def model(release: str) -> list[ReleasedFile]:
        with contextlib.suppress(ReleaseError):
            listed = releases.read_note(store, release).files
            return [listed[name] for name in REQUIRED if name in listed]
        return []

    return model(digest) in [each for each in map(model, left) if each]
