"""What a source is, what it is asked, and what it offers."""

from __future__ import annotations

import itertools
import json
import re
import resource
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.terms import MIN_SIDE, Terms
from greenr_luigi.sources.licenses import RIGHTS
from greenr_luigi.text import Network

if TYPE_CHECKING:
    from greenr_luigi.pictures.manifest import PictureRow, Refusal
    from greenr_luigi.sources.fileset import FileSet
    from greenr_luigi.staleness.listing import Part, Said

#: Requests at once, to all hosts: a slow one has many of them wait. Each has an open file, of which others need some.
AT_ONCE = min(512, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 0) // 2 or 512)
#: Pictures that are loaded at once, also those that wait for their host, to be tried again or to be checked. Of
#: these a kill has those fetched again that had not come.
UNDER_WAY = 2048
#: Loads at once that hold up the thread which they have.
THREADS = 128
#: Gives the bytes of a picture, or what will have them: no thread waits for that.
Load = Callable[[], bytes | Future[bytes]]
#: Reasons of refusals that may be gone later: no network, a server that is slow, busy or out of order.
PASSING = re.compile(r"\b(network|slow|given-up|http-(408|429|5\d\d))\b")
#: Of these, what its host wants to be asked later, or what was not asked for since it answered nothing else.
LATER = ("given-up", "http-429", "http-503")


class SourceError(GreenrError):
    """A source brings nothing, or too little. The message says what was asked, what came, and what to try."""

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class Interrupted(Exception):
    """A source ends before its time, such as for a fault of the network; what it listed until then stands."""


class NothingFound(Interrupted):
    """It ends since it has nothing of what was asked, which is no failure. The message says why."""


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
    #: The least pixels of either side.
    min_side: int = MIN_SIDE
    #: Requests to one host in a second, by all processes of the data root; half as many are under way. 0: no bound.
    per_host: float = 0
    #: Where whoever runs this is to be reached, which hosts are told; empty for nothing.
    contact: str = ""
    #: Whether a picture is left that its host keeps from models.
    opt_outs: bool = True
    #: A regular expression that finds the label in the name of a file of the folder; empty for none.
    label_pattern: str = ""
    #: Names search engines that could be asked the same, but for those that were, in brackets, for people.
    others: Callable[[Container[str]], str] = lambda asked: ""
    #: Takes what a source understood of the query, in words for people.
    tell: Callable[[str], None] = lambda words: None

    @property
    def terms(self) -> Terms:
        """On which pictures of the web are taken."""
        return Terms(self.min_side)


@dataclass(frozen=True)
class Candidate:
    """What may be a picture. `load` gives its bytes, at most door.MAX_BYTES of them and one, or raises Unavailable, at
    once or as a future.
    `file_url` names it to a person and finds it again: an address, a path within the folder, or a drawing's number.
    `side` (train, valid or test) and `group`: what a person's folder or list says of it; a search engine says neither.
    `place`: where it is listed, for a person. `checked`: what it was found to be before, and `picture`: where its bytes
    then went."""

    load: Load
    file_url: str
    page_url: str | None = None
    license: str | None = None
    author: str | None = None
    side: str | None = None
    group: str | None = None
    place: str = ""
    checked: PictureRow | Refusal | None = None
    picture: Path | None = None
    #: How many were listed before it.
    number: int = 0

    def placed(self, message: str) -> str:
        return f"{self.place}: {message}" if self.place else message


@dataclass(frozen=True)
class Source:
    """All that the pipeline knows of a source. Each module of a source defines its own as `SOURCE`, and imports
    nothing heavy before `candidates` is called. The defaults are those of a search engine.

    A list of sources is one, too, by `in_turn`."""

    name: str
    hint: str
    #: Lists what there is, the best first. Raises SourceError, or Interrupted where it has to end early.
    candidates: Callable[[Request], Iterator[Candidate]]
    #: Whether its pictures come from this machine. They can be had again at any time, so that nothing is put into the
    #: store, and they never grow old.
    local: bool = False
    #: Of one that takes sets of files, whole, and no more: these, by the name to call them. It reads them, too, and a
    #: large class can be divided. None: it cannot.
    files: Callable[[Request], Mapping[str, FileSet]] | None = None
    #: Of a list that it reads: the first `limit` addresses in it (0: all) for a request, each once, in their order. So
    #: a long one can be divided. Raises GreenrError if there is no list.
    addresses: Callable[[Request], Sequence[str]] | None = None
    #: The labels that --folder holds, where that can tell them. Raises GreenrError where it does not.
    classes: Callable[[Request], Iterable[str]] | None = None
    #: Raises SourceError for those labels that --folder does not hold, where it can be listed soon.
    require: Callable[[Request, Sequence[str]], None] | None = None
    #: What was understood of --folder, of which these labels are asked for, in words for people.
    describe: Callable[[Request, Sequence[str]], str] | None = None
    #: Whether it is a list that a person made: its pictures are used while they stand in it. What a search has found
    #: stays, as search engines forget.
    is_list: bool = False
    needs_folder: bool = False
    #: Whether its query is an address, so that no other can be asked the same.
    of_addresses: bool = False
    #: Those of RIGHTS that may be asked for: that it can filter by or, if it does not search, passes over.
    licenses: Collection[str] = tuple(RIGHTS)
    #: So many pictures are taken if no limit is given; 0: all of them, which only a source that ends may say.
    default_limit: int = 200
    #: The files and folders from outside that it reads for (label, --folder, data root), by the name to call them.
    reads: Callable[[str, Path | None, Path], Mapping[str, Path]] = lambda label, folder, root: {}
    #: Whether it may stand last in a list of search engines, to take their place where no network answers.
    stands_in: bool = False
    #: Of a list: the search engines, and what takes their place.
    parts: tuple[Source, ...] = ()
    stand_in: Source | None = None

    def all_reads(self, request: Request) -> Mapping[str, Path | Part | Said]:
        """The files and folders from outside that it reads, by the name to call them, and what is said of them."""
        if self.files:
            files = self.files(request)
            return {**{name: each.read() for name, each in files.items()}, **self.said(request)}
        return self.reads(request.label, request.folder, request.root)

    def said(self, request: Request) -> Mapping[str, Said]:
        """What is said of its files, by the name to call it."""
        files = self.files(request) if self.files else {}
        return {f"what is said of {name}": said for name, each in files.items() if (said := each.said())}

    def check(self, request: Request) -> None:
        """Raises SourceError for what this source, or one of its list, cannot be asked."""
        for part in self.parts:
            part.check(request)
        if self.of_addresses and not re.match("https?://.", request.query, re.IGNORECASE):
            named = json.dumps({request.label: "https://..."}, ensure_ascii=False)
            raise SourceError(
                f"the source {self.name!r} wants the address of a site for {request.label!r}, and has "
                f"{request.query!r}: name it by --queries '{named}'"
            )
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
                f"the source {self.name!r} cannot filter for licence {request.license!r}: use one that can"
                f"{request.others((self.name,))}, or ask for none"
            )

    def terms(self, request: Request) -> Terms:
        """On which its pictures are taken."""
        return request.terms._replace(own=self.local)

    @property
    def each(self) -> tuple[Source, ...]:
        """Those that are asked, in this order."""
        return self.parts or (self,)

    @property
    def searches(self) -> bool:
        """Whether it is a search engine, that can stand in the place of another."""
        return not (self.local or self.is_list or self.of_addresses)

    @property
    def module(self) -> str:
        return self.candidates.__module__

    @property
    def modules(self) -> tuple[str, ...]:
        """Its code, which is what makes a collection stale when it is edited."""
        return tuple(one.module for one in (*self.each, self.stand_in) if one)


def in_turn(sources: Sequence[Source]) -> Source:
    """Search engines of which the next one is asked where those before it brought too little. Raises SourceError for
    what is none, or cannot stand in its place."""
    stand_in = sources[-1] if sources[-1].stands_in else None
    engines = tuple(sources[:-1] if stand_in else sources)
    names = ",".join(source.name for source in sources)
    if alone := next((one for one in engines if not one.searches), None):
        place = "behind all others" if alone.stands_in else "alone"
        raise SourceError(
            f"the sources {names} cannot be asked in turn, as search engines can: name {alone.name!r} {place}"
        )
    return Source(
        names,
        "search engines, asked in turn until there are enough pictures",
        lambda request: itertools.chain.from_iterable(engine.candidates(request) for engine in engines),
        default_limit=max(engine.default_limit for engine in engines),
        parts=engines,
        stand_in=stand_in,
    )
