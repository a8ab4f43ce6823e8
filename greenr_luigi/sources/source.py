"""What a source is, what it is asked, and what it offers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.sources.licenses import RIGHTS
from greenr_luigi.text import Network

#: Pictures that are fetched at once.
THREADS = 16


class SourceError(GreenrError):
    """A source brings nothing, or too little. The message says what was asked, what came, and what to try."""

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Interrupted(Exception):
    """A source ends before its time, such as for a fault of the network; what it listed until then stands."""


class Unavailable(Exception):
    """One candidate cannot be loaded. `reason` is a short constant word, the message is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Request:
    """What a source is asked for: pictures of `label`, searched for as `query`."""

    label: str
    query: str
    #: How many good pictures are wanted, 0 for all. A source may list more, as not all will be usable.
    limit: int = 0
    #: `--folder`, a person's own.
    folder: Path | None = None
    #: The data root.
    root: Path = Path()
    #: One of RIGHTS, or None for any.
    license: str | None = None
    #: Networks that are not public and may be fetched from, such as an archive on the intranet.
    allow: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What may be a picture. `load` gives its bytes, at most door.MAX_BYTES of them and one, or raises Unavailable.
    `file_url` names it to a person and finds it again: an address, a path within the folder, or a drawing's number."""

    load: Callable[[], bytes]
    file_url: str
    page_url: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Source:
    """All that the pipeline knows of a source. Each module of a source defines its own as `SOURCE`, and imports
    nothing heavy before `candidates` is called. The defaults are those of a search engine."""

    name: str
    hint: str
    #: Lists what there is, the best first. Raises SourceError, or Interrupted where it has to end early.
    candidates: Callable[[Request], Iterator[Candidate]]
    #: Whether its pictures come from this machine. They can be had again at any time, so that nothing is put into the
    #: store, and they never grow old.
    local: bool = False
    #: Whether it is a list that a person made: its pictures are used while they stand in it. What a search has found
    #: stays, as search engines forget.
    is_list: bool = False
    needs_folder: bool = False
    #: Those of RIGHTS that may be asked for: that it can filter by or, if it does not search, passes over.
    licenses: Collection[str] = tuple(RIGHTS)
    #: So many pictures are taken if no limit is given; 0: all of them, which only a source that ends may say.
    default_limit: int = 200
    #: The files and folders from outside that it reads for (label, --folder, data root), by the name to call them.
    reads: Callable[[str, Path | None, Path], Mapping[str, Path]] = lambda label, folder, root: {}

    def check(self, request: Request) -> None:
        """Raises SourceError for what this source cannot be asked."""
        if self.needs_folder and request.folder is None:
            raise SourceError(f"the source {self.name!r} needs --folder: {self.hint}")
        if self.needs_folder and request.folder and not request.folder.exists():
            raise SourceError(f"--folder {request.folder} does not exist: give the path of an existing one")
        if request.license and request.license not in RIGHTS:
            raise SourceError(
                f"the licence {request.license!r} is not known: expected one of {' '.join(RIGHTS)}"
            )
        if request.license and request.license not in self.licenses:
            raise SourceError(
                f"the source {self.name!r} cannot filter for licence {request.license!r}: use flickr or bing, or none"
            )

    @property
    def module(self) -> str:
        """Its code, which is what makes a collection stale when it is edited."""
        return self.candidates.__module__
