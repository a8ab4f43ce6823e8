"""A person's own pictures: a folder with one sub-folder a class, which is read and never changed."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi.pictures import door, manifest
from greenr_luigi.pictures.manifest import folder_name
from greenr_luigi.sources.candidates import Candidate, Request, SourceError, Unavailable


def folder(request: Request, engine: str = "folder") -> Iterator[Candidate]:
    """Every file below the label's sub-folder, by name; hidden files and folders are left alone.

    Raises SourceError if there is no such sub-folder.
    """
    assert request.folder is not None
    top = label_folder(request.folder, request.label)
    for path in visible(top):
        name = f"{top.name}/{path.relative_to(top).as_posix()}"
        yield Candidate(functools.partial(read, path), engine, None, name)


def feedback(request: Request) -> Iterator[Candidate]:
    """What a person kept of what visitors said, and added themselves; raises SourceError if there is none of the
    label."""
    assert request.folder is not None
    if not (request.folder / folder_name(request.label)).is_dir():
        raise SourceError(
            f"nothing has been kept as {request.label!r} in {request.folder}: go through what visitors said with "
            "`greenr review`. What you keep there joins the pictures of every source; `feedback` takes it alone"
        )
    yield from folder(request, "feedback")


def label_folder(place: Path, label: str) -> Path:
    """The sub-folder of a label (manifest.label_folder); raises SourceError, with what there is, if there is none."""
    if not place.is_dir():
        raise SourceError(
            f"--folder {place} is not a folder: give one that holds a sub-folder for each class"
        )
    if found := manifest.label_folder(place, label):
        return found
    names = sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    near = difflib.get_close_matches(label.lower(), [name.lower() for name in names], 1)
    meant = f"; did you mean {next(name for name in names if name.lower() == near[0])!r}?" if near else ""
    there = f"it holds {', '.join(names)}" if names else "it holds no sub-folder"
    raise SourceError(f"--folder {place} has no sub-folder {label!r}: {there}{meant}")


def visible(top: Path) -> Iterator[Path]:
    """Files below `top` at any depth, sorted; nothing hidden, and no folder behind a symbolic link. The same as
    traces.walk sees, so that the stage is stale when these change, and only then; a pipe would never end."""
    for base, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(base, name) for name in sorted(files) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())


def read(path: Path) -> bytes:
    """One byte more than a picture may have is enough to refuse it."""
    try:
        with path.open("rb") as file:
            return file.read(door.MAX_BYTES + 1)
    except OSError as error:
        raise Unavailable("unreadable", f"{path} cannot be read: {error.strerror}") from None
