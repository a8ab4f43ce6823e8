"""A person's own pictures: a folder that says by its layout which is of which class, read and never changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources import archive, layout
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError
from greenr_luigi.sources.understood import Layout, understood
from greenr_luigi.staleness.memo import once
from greenr_luigi.text import did_you_mean_each


def candidates(request: Request) -> Iterator[Candidate]:
    """Every file of the label. Raises SourceError if the folder has none, or does not tell."""
    require(request, [request.label])
    for fileset in _layout(request).filesets(request.label):
        yield from fileset.candidates()


def require(request: Request, labels: Sequence[str]) -> None:
    """Raises SourceError for all labels together of which the folder has nothing."""
    found = _layout(request)
    if absent := [label for label in labels if not found.filesets(label)]:
        why = found.doubt or "it holds no sub-folder"
        meant = did_you_mean_each(absent, [*found.classes], why)
        raise SourceError(f"--folder {request.folder} has no sub-folder {meant}")


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


def describe(request: Request, labels: Sequence[str]) -> str:
    return understood(_layout(request), labels)


def classes(request: Request) -> list[str]:
    with _opened(request.folder, request.root) as folder:
        return layout.classes(folder, request.label_pattern)


def _layout(request: Request) -> Layout:
    return _layout_of(request.folder, request.root, request.label_pattern)


@once
def _layout_of(folder: Path | None, root: Path, pattern: str) -> Layout:
    with _opened(folder, root) as opened:
        return layout.of(opened, pattern)


@contextlib.contextmanager
def _opened(given: Path | None, root: Path) -> Iterator[Path]:
    """The folder, or that of an archive's files; an error names the archive."""
    assert given is not None
    folder = archive.opened(given, root)
    try:
        yield folder
    except SourceError as error:
        raise SourceError(str(error).replace(str(folder), str(given))) from None


SOURCE = Source(
    "folder",
    "your own pictures: --folder holds one sub-folder a class",
    candidates,
    needs_folder=True,
    local=True,
    default_limit=0,
    files=files,
    classes=classes,
    require=require,
    describe=describe,
)
