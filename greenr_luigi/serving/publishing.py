"""Writing a release: its files are copied, listed and named by their content, and appear at once."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from greenr_luigi import contracts, files
from greenr_luigi.files import flush
from greenr_luigi.serving import releases
from greenr_luigi.serving.releases import ReleasedFile, ReleaseError, ReleaseNote
from greenr_luigi.staleness import regular
from greenr_luigi.staleness.traces import file_sha256

#: Files that are brought to the disk at a time, which waits for each, and writes many at once.
FLUSHING = 16


def publish(store: Path, sources: Iterable[Path]) -> str:
    """Copy files and folders, each under its own name, into a new immutable release, and return its digest. The same
    files give the same release. Nothing serves it before `point`.

    Raises ReleaseError when model.onnx or model.json is missing, a file is a link, or two have one name.
    """
    # It cannot be imported while Python ends, when a run sees to it that the release before serves.
    from concurrent.futures import ThreadPoolExecutor

    chosen = files_by_name(sources)
    store.mkdir(parents=True, exist_ok=True)
    unfinished = store / f".new-{uuid.uuid4().hex[:8]}"
    try:
        unfinished.mkdir()
        with ThreadPoolExecutor(FLUSHING) as pool:
            listed = pool.map(lambda name: _copied(chosen[name], name, unfinished), sorted(chosen))
            listing = dict(zip(sorted(chosen), listed, strict=True))
        digest = releases.listing_digest(listing)
        contracts.write(unfinished / "release.json", ReleaseNote(digest, listing, releases.now()))
        move_into_store(unfinished, store / digest)
        flush(store)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return digest


def _copied(source: Path, name: str, unfinished: Path) -> ReleasedFile:
    copy = unfinished / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, name, copy)
    flush(copy)
    return ReleasedFile(file_sha256(copy), copy.stat().st_size)


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
            if name in releases.LEFT_OUT or not path.is_file():
                continue
            if chosen.setdefault(name, path) != path:
                raise ReleaseError(
                    f"two files for {name!r} in a release, {chosen[name]} and {path}: leave one out"
                )
    if missing := [name for name in releases.REQUIRED if name not in chosen]:
        raise ReleaseError(
            f"no {' and no '.join(missing)} among {sorted(chosen)}: a release needs both; export the model again"
        )
    return chosen


def move_into_store(unfinished: Path, release: Path) -> None:
    """Rename a complete folder to its name. A sound release that is there already stays, a damaged one goes."""
    if os.path.lexists(release):
        try:
            releases.verify(release.parent, release.name)
            return
        except ReleaseError:
            release.rename(unfinished.with_name(unfinished.name.replace(".new-", ".damaged-")))
    try:
        unfinished.rename(release)
    except OSError:
        releases.verify(release.parent, release.name)  # Another publisher was quicker with the same files.
