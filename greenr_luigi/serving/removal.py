"""What may go from the store of releases, and how."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path

from greenr_luigi.serving import releases, rollout


def superfluous(store: Path, keep: int, serving: Collection[str] = ()) -> list[str]:
    """All but the last `keep` of `releases`, the current, the one before it and those `serving`. A copy that a person
    made under another name is none of ours, and takes the place of none that is kept."""
    digests = [
        digest
        for digest in releases.releases(store)
        if not (store / digest).is_symlink() and releases.is_sound(store, digest, names=())
    ]
    kept = {
        rollout.current(store),
        rollout.previous(store),
        *serving,
        *digests[max(0, len(digests) - keep) :],
    }
    return [digest for digest in digests if digest not in kept]


def leftovers(store: Path) -> list[Path]:
    """What killed writers left, by the names that are given here. A living one has such, too."""
    return [
        path
        for path in sorted(store.glob(".*"))
        if (releases.LINK.fullmatch(path.name) and path.is_symlink())
        or (releases.FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
    ]


def remove(store: Path, digest: str) -> None:
    """Delete a release: at once under its name, so that nobody takes half of it for a release."""
    renamed = store / f".old-{digest}-{time.monotonic_ns()}"
    (store / digest).rename(renamed)
    shutil.rmtree(renamed)
