"""A person's own pictures: a folder that says by its layout which is of which class, read and never changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources import archive, layout
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.text import did_you_mean


def candidates(request: Request) -> Iterator[Candidate]:
    """Every file of the label. Raises SourceError if the folder has none, or does not tell."""
    found = _layout(request)
    if not (filesets := found.filesets(request.label)):
        named = [*found.classes]
        meant = did_you_mean(request.label, named) if named else found.doubt or "it holds no sub-folder"
        raise SourceError(f"--folder {request.folder} has no sub-folder {request.label!r}: {meant}")
    for fileset in filesets:
        yield from fileset.candidates()


def files(request: Request) -> Mapping[str, FileSet]:
    """Where there are none yet, the folder in which they would be."""
    label, folder = request.label, request.folder
    if folder is None:
        return {}
    found = _layout(request).filesets(label) if folder.exists() else []
    found = found or [FileSet(folder / folder_name(label), label)]
    if len(found) == 1:
        return {f"folder {label}": found[0]}
    return {f"folder {fileset.name or label}": fileset for fileset in found}


def told(request: Request) -> Mapping[str, object]:
    return _layout(request).told(request.label)


def classes(request: Request) -> list[str]:
    with _opened(request) as folder:
        return layout.classes(folder, request.label_pattern)


def _layout(request: Request) -> layout.Layout:
    with _opened(request) as folder:
        return layout.of(folder, request.label_pattern)


@contextlib.contextmanager
def _opened(request: Request) -> Iterator[Path]:
    """The folder, or that of an archive's files; an error names the archive."""
    assert request.folder is not None
    folder = archive.opened(request.folder, request.root)
    try:
        yield folder
    except SourceError as error:
        raise SourceError(str(error).replace(str(folder), str(request.folder))) from None


SOURCE = Source(
    "folder",
    "your own pictures: --folder holds one sub-folder a class",
    candidates,
    needs_folder=True,
    local=True,
    default_limit=0,
    files=files,
    classes=classes,
    told=told,
)
