"""A person's own pictures: a folder that says by its layout which is of which class, read and never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources import layout
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.text import did_you_mean


def candidates(request: Request) -> Iterator[Candidate]:
    """Every file of the label. Raises SourceError if the folder has none, or does not tell."""
    assert request.folder is not None
    found = layout.of(request.folder, request.label_pattern)
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
    found = layout.of(folder, request.label_pattern).filesets(label) if folder.is_dir() else []
    found = found or [FileSet(folder / folder_name(label), label)]
    if len(found) == 1:
        return {f"folder {label}": found[0]}
    return {f"folder {fileset.name or label}": fileset for fileset in found}


def told(request: Request) -> Mapping[str, object]:
    assert request.folder is not None
    return layout.of(request.folder, request.label_pattern).told(request.label)


def classes(request: Request) -> list[str]:
    assert request.folder is not None
    return layout.classes(request.folder, request.label_pattern)


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
