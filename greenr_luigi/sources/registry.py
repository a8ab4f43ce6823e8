"""Where pictures come from. A source lists candidates cheaply; each loads its own bytes when it is asked to.

`SOURCES` names them all. A source knows nothing of files on our side: `greenr_luigi.collection` loads, checks
and keeps what it lists.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from greenr_luigi.sources import commons, drawn, engines, listed, local
from greenr_luigi.sources.candidates import Candidate, Interrupted, Request, SourceError, Unavailable

__all__ = [
    "NAMES",
    "SOURCES",
    "Candidate",
    "Interrupted",
    "Request",
    "Source",
    "SourceError",
    "Unavailable",
    "find",
]


@dataclass(frozen=True)
class Source:
    """`candidates` lists them, the best first. `keeps` says which pictures of an earlier collection stay:
    "all", as a search engine forgets; those still "listed", as the list is a person's; or "none", as the
    source holds all."""

    candidates: Callable[[Request], Iterator[Candidate]]
    keeps: Literal["all", "listed", "none"]
    hint: str
    #: Whether it lists more than a person could want, so that `--limit` must say where to stop.
    endless: bool = True


SOURCES: dict[str, Source] = {
    "bing": Source(engines.bing, "all", "Bing's picture search"),
    "google": Source(engines.google, "all", "Google's picture search, which seldom answers programs"),
    "baidu": Source(engines.baidu, "all", "Baidu's picture search"),
    "openverse": Source(commons.openverse, "all", "freely licensed pictures from many places"),
    "commons": Source(commons.commons, "all", "Wikimedia Commons"),
    "flickr": Source(engines.flickr, "all", "Flickr's search; needs a key in FLICKR_APIKEY"),
    "urls": Source(
        listed.urls,
        "listed",
        "lists of addresses: --folder holds <label>.txt or .csv, or is a CSV of label,url",
        endless=False,
    ),
    "folder": Source(
        local.folder, "none", "your own pictures: --folder holds one sub-folder a class", endless=False
    ),
    "feedback": Source(
        local.feedback, "none", "what users of the page put right and `greenr review` kept", endless=False
    ),
    "sample": Source(drawn.sample, "none", "pictures drawn here, to try the pipeline without a network"),
}
NAMES = tuple(SOURCES)


def find(name: str) -> Source:
    """The source of that name. Raises SourceError naming the nearest one."""
    if name in SOURCES:
        return SOURCES[name]
    near = difflib.get_close_matches(name.lower(), NAMES, 1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    raise SourceError(f"there is no source {name!r}: {meant}The sources are {', '.join(NAMES)}")


def check_folder(name: str, folder: Path | None) -> None:
    """Raises SourceError if the source needs a folder and none is given or it does not exist."""
    if name in ("folder", "urls") and folder is None:
        raise SourceError(f"the source {name!r} needs --folder: {SOURCES[name].hint}")
    if name != "feedback" and folder is not None and not folder.exists():
        raise SourceError(f"--folder {folder} does not exist: give the path of an existing one")
