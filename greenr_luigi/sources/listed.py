"""What is used of a store for a request: what a source lists is loaded, checked, and named by its content."""

from __future__ import annotations

import datetime
import functools
import itertools
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from greenr_luigi.pictures.examine import Examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal, held_out_first
from greenr_luigi.sources import hosts, licenses
from greenr_luigi.sources.checking import WINDOW, examined
from greenr_luigi.sources.loading import Given, Loader, loaded
from greenr_luigi.sources.source import (
    LATER,
    UNDER_WAY,
    Candidate,
    Interrupted,
    NothingFound,
    Request,
    Source,
    SourceError,
)
from greenr_luigi.sources.store import Origin, Store, sound
from greenr_luigi.sources.under_way import UnderWay

#: So many times as many of a host may be under way as it is asked at once: some wait for their turn, or to try again.
AWAIT = 4
#: Addresses of a list that are looked at before the first of them has come.
AHEAD = 100_000

#: What a candidate is, and the bytes of its picture or where they lie.
Loaded = tuple[PictureRow | Refusal, bytes | Path | None]

#: Share of what a limit takes of a folder for each side that is held out, if that is given.
LEAST = 0.15


def some_of_each_side(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """In another order, so that the first of them are of all sides that are given: by the size of each, but LEAST are
    held out for validation and for the test where there are as many."""
    of_side: dict[str | None, list[Candidate]] = {}
    for candidate in candidates:
        of_side.setdefault(candidate.side, []).append(candidate)
    total, places = sum(map(len, of_side.values())), list[tuple[float, int, Candidate]]()
    for side, of in of_side.items():
        share = max(len(of) / total, LEAST if side in ("valid", "test") else 0)
        places += [((n + 0.5) / share, held_out_first(side), candidate) for n, candidate in enumerate(of)]
    return (candidate for *_, candidate in sorted(places, key=lambda place: place[:2]))


class Collection:
    """What is used of a store for a request to a source, as far as the source has been asked. `source`: one, or a list
    of those that are asked in turn. `refused`: what is not asked for again, by address. `examine`: by what pictures are
    let in."""

    def __init__(
        self,
        source: Source,
        request: Request,
        pictures: Store,
        refused: Mapping[str, Refusal],
        examine: Examine,
    ) -> None:
        self.source, self.request, self.store, self._refused = source, request, pictures, refused
        self._examine = examine
        self.refusals: list[Refusal] = []
        #: Each good picture as the source has listed it, by sha256.
        self.listed: dict[str, Candidate] = {}
        #: What went wrong with a search engine, and what one understood of the query, by its name.
        self.failed: dict[str, str] = {}
        self.understood: dict[str, str] = {}
        #: Whether any of it may have passed when it is asked again.
        self.broke_off = False
        self._searched = not (source.local or source.is_list)
        self._numbers = itertools.count()
        self._sha256: dict[str | None, str] = {}
        #: The ways in which pictures came by which they may be used: sha256 and address, and the first way by sha256.
        self._ways: set[tuple[str, str | None]] = set()
        self._first: dict[str, Origin] = {}
        #: Later than all that was there before, whatever the clock says: what comes after a decision is told by it.
        self._earliest = _second_after(max((origin.fetched or "" for origin in pictures.origins), default=""))
        for origin in pictures.origins:
            self._note(origin)

    def __str__(self) -> str:
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        if not self._searched:
            # A list may have a million lines, of which to make rows takes seconds.
            return f"{self.request.label}: {len(self.listed)} pictures{refused}"
        rows = self.rows()
        engines = f" ({counted(by_engine(rows))})" if self.source.parts and rows else ""
        return f"{self.request.label}: {len(rows)} pictures{engines}{refused}"

    def rows(self) -> list[PictureRow]:
        """The pictures that are used: all of the store that may be, or those that the source has listed."""
        return [
            self._first[sha256].as_row(
                file=f"pictures/{row.file}", dhash=row.dhash, phash=row.phash, **self._said(sha256)
            )
            for sha256 in (self._first if self._searched else self.listed)
            if isinstance(row := self.store.pictures.get(sha256), PictureRow)
        ]

    def _said(self, sha256: str) -> dict[str, str | None]:
        """What a folder or list says of a picture counts as it says it now, and not as it did when the picture came."""
        if self._searched:
            return {}
        now = self.listed[sha256]
        return {"file_url": now.file_url, "given_side": now.side, "group": now.group}

    def damaged(self) -> list[Refusal]:
        """What might be used if its file were still what came, and has not come again."""
        words = f"was edited in {self.store.folder}, and did not come again"
        return [
            Refusal("damaged", f"{origin.file} {words}", origin.file_url)
            for sha256, origin in self._first.items()
            if sha256 not in self.store.pictures
        ]

    @property
    def missing(self) -> int:
        """How many more are to be listed; without a limit there is always something."""
        return self.request.limit - len(self.listed) if self.request.limit else AHEAD

    def ask(self, part: Source, loader: Loader, on_batch: Callable[[], None]) -> None:
        """Take what one source lists, until nothing is missing or it ends. A search engine that is no use has failed:
        where its pages are no longer understood, it may look as if it had found nothing.

        As many are loaded at once as are missing, no more than UNDER_WAY, and a few of a host. Each is taken as soon as
        it has come: one that takes long holds up none, and what a kill loses are those under way."""
        before = len(self.refusals)
        candidates, fault, useful, nothing_there = self._candidates(part), "", False, False
        taken, more = 0, True
        most = WINDOW if self.source.local else UNDER_WAY
        of_host = most if self.source.local else AWAIT * hosts.at_once(self.request.per_host)
        under_way = UnderWay(functools.partial(self._begin, part, loader), host_of, most, of_host)
        # All of a list that is not too long: its hosts may come one after the other.
        ahead = AHEAD if self.source.is_list and not self.request.limit else UNDER_WAY

        def take(candidate: Candidate, outcome: PictureRow | Refusal, data: bytes | Path | None) -> None:
            nonlocal useful, taken
            useful |= self._take(candidate, part, outcome, data)
            taken += 1
            if taken % WINDOW == 0:
                self.store.save()
                on_batch()

        while under_way or (more and self.missing > 0):
            room = max(min(self.missing, ahead) - len(under_way), 0) if more else 0
            try:
                for candidate in itertools.islice(candidates, room):
                    room -= 1
                    # What is in the store is not loaded.
                    if outcome := self._known(candidate):
                        take(candidate, outcome, None)
                    else:
                        under_way.start(candidate)
            except NothingFound as why:
                nothing_there, self.understood[part.name] = True, str(why)
            except Interrupted as error:
                fault, self.broke_off = str(error), True
            except SourceError as error:
                if not self._searched:
                    raise
                fault = str(error)
            more &= room == 0
            for candidate, (found, data) in under_way.ended():
                take(candidate, found, data)
            self.store.flush()
        self.store.save()
        on_batch()
        later = sum(refusal.reason in LATER for refusal in self.refusals[before:])
        if not fault and later and (self.source.is_list or self.missing > 0):
            fault = f"{later} pictures are left for another day, since their hosts are busy or do not answer"
        if fault or (self._searched and not useful and not nothing_there):
            ended = "ended early" if useful else "brought nothing"
            self.failed[part.name] = f"{ended}: {fault or 'it lists no picture that can be used'}"

    def _known(self, candidate: Candidate) -> PictureRow | Refusal | None:
        """What a candidate is that need not be loaded."""
        known = self.store.pictures.get(self._sha256.get(candidate.file_url, ""))
        if known is None and (refused := self._refused.get(candidate.file_url)):
            return replace(refused, message=candidate.placed(refused.message))
        return known

    def _candidates(self, part: Source) -> Iterator[Candidate]:
        tell = functools.partial(self.understood.__setitem__, part.name)
        candidates = part.candidates(replace(self.request, tell=tell))
        # Only of a source that ends; drawings do not.
        if part.local and not part.default_limit and self.request.limit:
            candidates = some_of_each_side(candidates)
        for candidate in candidates:
            yield replace(candidate, number=next(self._numbers))

    def words(self) -> str:
        """What was understood, for a person."""
        return "; ".join(f"{name}: {words}" for name, words in self.understood.items())

    def faults(self) -> str:
        """What went wrong, for a person."""
        return "; ".join(f"{name} {words}" for name, words in self.failed.items())

    def _begin(self, part: Source, loader: Loader, candidate: Candidate) -> Future[Loaded]:
        if candidate.checked is None:
            return loader.begin(candidate.load, functools.partial(self._load, part, candidate))
        # Only what is gone is loaded again.
        given = functools.partial(loaded, candidate.load)
        return loader.begin(bytes, lambda _: self._load(part, candidate, given))

    def _load(self, part: Source, candidate: Candidate, given: Given) -> Loaded:
        """What a candidate was found to be before, if its picture is still there; else what it is."""
        if isinstance(known := candidate.checked, Refusal):
            return known, None
        outcome: PictureRow | Refusal
        data: bytes | Path | None
        if known and candidate.picture and sound(candidate.picture, known.sha256):
            outcome, data = known, candidate.picture
        else:
            terms = part.terms(self.request)
            outcome, data = examined(candidate, given, self.request.label, part.name, terms, self._examine)
        if self.source.local or isinstance(outcome, Refusal):
            return outcome, data
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return replace(outcome, fetched=max(now, self._earliest)), data

    def _take(
        self, candidate: Candidate, part: Source, outcome: PictureRow | Refusal, data: bytes | Path | None
    ) -> bool:
        if isinstance(outcome, PictureRow) and outcome.sha256 in self.store.pictures:
            outcome, data = self.store.pictures[outcome.sha256], None
        url = candidate.file_url
        if isinstance(outcome, Refusal):
            self.refusals.append(replace(outcome, file_url=url))
            return False
        listed = self.listed.setdefault(outcome.sha256, candidate)
        if listed.file_url != url:
            # What is held out must not be learned from under another name.
            kept, other = sorted((listed, candidate), key=lambda one: (held_out_first(one.side), one.number))
            words = other.placed(f"the same file as {kept.file_url}")
            self.refusals.append(Refusal("duplicate", words, other.file_url))
            self.listed[outcome.sha256] = kept
        known = self._first.get(outcome.sha256)
        unsigned = known is not None and known.file_url == url and not known.author
        if (outcome.sha256, url) not in self._ways or (unsigned and candidate.author):
            origin = Origin.of(
                outcome,
                engine=part.name,
                query=self.request.query if self._searched else None,
                page_url=candidate.page_url,
                file_url=url,
                license=candidate.license,
                author=candidate.author,
                asked=self.request.license,
                listed=self.source.is_list,
            )
            self.store.add(origin)
            self._note(origin)
        if data is not None:
            self.store.put(outcome, data)
        return True

    def _note(self, origin: Origin) -> None:
        self._sha256[origin.file_url] = origin.sha256
        wanted = self.request.license
        allowed = not wanted or any(
            licenses.allows(known, wanted) for known in (origin.license, origin.asked)
        )
        if not self._searched or (allowed and not origin.listed):
            self._ways.add((origin.sha256, origin.file_url))
            first = self._first.setdefault(origin.sha256, origin)
            if not first.author and first.file_url == origin.file_url:
                # Earlier versions did not note who made it.
                self._first[origin.sha256] = replace(first, author=origin.author)


def host_of(candidate: Candidate) -> str:
    """Empty where there is none, as of a path."""
    try:
        return urllib.parse.urlsplit(candidate.file_url).netloc
    except ValueError:
        return ""


def _second_after(time: str) -> str:
    """A time in the same form (ISO, UTC); empty for none, or what is no time."""
    try:
        return (datetime.datetime.fromisoformat(time) + datetime.timedelta(seconds=1)).isoformat()
    except (ValueError, OverflowError):
        return ""


def by_engine(rows: Iterable[PictureRow]) -> dict[str, int]:
    """How many pictures each source has brought first, the most first."""
    return dict(Counter(row.engine for row in rows).most_common())


def counted(numbers: Mapping[str, int], between: str = " ") -> str:
    return ", ".join(f"{count}{between}{name}" for name, count in numbers.items())
