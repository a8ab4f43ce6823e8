"""A person's own pictures: a folder with one sub-folder a class, which is read and never changed."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name, label_folder
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError, Unavailable
from greenr_luigi.staleness import listing, regular
from greenr_luigi.staleness.shown import printable
from greenr_luigi.text import did_you_mean


def candidates(request: Request) -> Iterator[Candidate]:
    """Every file below the label's sub-folder. Raises SourceError if there is no such sub-folder."""
    assert request.folder is not None
    if not request.folder.is_dir():
        raise SourceError(
            f"--folder {request.folder} is not a folder: give one that holds a sub-folder for each class"
        )
    top = label_folder(request.folder, request.label)
    if top is None:
        names = [
            printable(path.name) for path in request.folder.iterdir() if path.is_dir() and path.name[0] != "."
        ]
        meant = did_you_mean(request.label, sorted(names)) if names else "it holds no sub-folder"
        raise SourceError(f"--folder {request.folder} has no sub-folder {request.label!r}: {meant}")
    yield from files_below(top)


def files_below(top: Path) -> Iterator[Candidate]:
    """The files of a folder as candidates."""
    return named(top, (path.relative_to(top).as_posix() for path in visible(top)))


def named(top: Path, names: Iterable[str]) -> Iterator[Candidate]:
    """Files of these relative names as candidates."""
    for name in names:
        yield Candidate(functools.partial(read, top / name), printable(f"{top.name}/{name}"))


def visible(top: Path) -> Iterator[Path]:
    """Files below `top` at any depth, sorted. The same as traces.walk sees, so that the stage is stale when these
    change, and only then; a pipe would never end."""
    paths = (top / name for name in sorted(listing.names(top), key=listing.order))
    return (path for path in paths if path.is_file())


def read(path: Path) -> bytes:
    """One byte more than a picture may have is enough to refuse it."""
    from greenr_luigi.pictures.unusable import MAX_BYTES

    try:
        with regular.opened(path) as file:
            return bytes(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise Unavailable("unreadable", f"{printable(path)} cannot be read: {error.strerror}") from None


def reads(label: str, folder: Path | None, root: Path) -> Mapping[str, Path]:
    if folder is None:
        return {}
    return {f"folder {label}": label_folder(folder, label) or folder / folder_name(label)}


SOURCE = Source(
    "folder",
    "your own pictures: --folder holds one sub-folder a class",
    candidates,
    needs_folder=True,
    local=True,
    named=named,
    default_limit=0,
    reads=reads,
)
