"""What visitors of the page put right, and a person kept of it and added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from greenr_luigi.pictures.labels import folder_name
from greenr_luigi.sources.fileset import FileSet
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError

#: Below the data root; dataset/decisions.py fills it.
ADDED = "added"


def candidates(request: Request) -> Iterator[Candidate]:
    """Raises SourceError if nothing is kept as the label."""
    top = request.root / ADDED / folder_name(request.label)
    if not top.is_dir():
        raise SourceError(
            f"nothing has been kept as {request.label!r} in {top.parent}: go through what visitors said with "
            "`greenr review`. What you keep there joins the pictures of every source; `feedback` takes it alone"
        )
    for fileset in files(request).values():
        yield from fileset.candidates()


def files(request: Request) -> Mapping[str, FileSet]:
    name = folder_name(request.label)
    return {f"kept as {request.label}": FileSet(request.root / ADDED / name, name)}


SOURCE = Source(
    "feedback",
    "what users of the page put right and `greenr review` kept",
    candidates,
    local=True,
    default_limit=0,
    files=files,
)
