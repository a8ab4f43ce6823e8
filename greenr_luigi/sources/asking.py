"""Asking a source for a collection: what it lists is loaded and checked, and taken as soon as it is there."""

from __future__ import annotations

import datetime
import functools
import itertools
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from greenr_luigi.pictures.examine import Examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal, held_out_first
from greenr_luigi.sources import hosts
from greenr_luigi.sources.checking import WINDOW, examined
from greenr_luigi.sources.listed import AHEAD, Collection
from greenr_luigi.sources.loading import Given, Loader, loaded
from greenr_luigi.sources.source import (
    LATER,
    UNDER_WAY,
    Candidate,
    Interrupted,
    NothingFound,
    Source,
    SourceError,
)
from greenr_luigi.sources.store import sound
from greenr_luigi.sources.under_way import UnderWay

#: So many times as many of a host may be under way as it is asked at once: some wait for their turn, or to try again.
AWAIT = 4
#: What a search lists before the first of it is taken.
SEARCHED = 512
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


class Asking:
    """One source of a collection, as it is asked. `examine`: by what pictures are let in."""

    def __init__(self, collection: Collection, part: Source, loader: Loader, examine: Examine) -> None:
        self._collection, self._part, self._loader, self._examine = collection, part, loader, examine

    def run(self, on_batch: Callable[[], None]) -> None:
        """Take what one source lists, until nothing is missing or it ends. A search engine that is no use has failed:
        where its pages are no longer understood, it may look as if it had found nothing.

        As many are loaded at once as are missing, no more than UNDER_WAY, and a few of a host. Each is taken as soon as
        it has come: one that takes long holds up none, and what a kill loses are those under way."""
        collection, part = self._collection, self._part
        before = len(collection.refusals)
        candidates, fault, useful, nothing_there = self._candidates(), "", False, False
        taken, more = 0, True
        most = WINDOW if collection.source.local else UNDER_WAY
        of_host = most if collection.source.local else AWAIT * hosts.at_once(collection.request.per_host)
        under_way = UnderWay(self._begin, host_of, most, of_host)
        # All of a list that is not too long: its hosts may come one after the other.
        ahead = AHEAD if collection.source.is_list and not collection.request.limit else SEARCHED

        def take(candidate: Candidate, outcome: PictureRow | Refusal, data: bytes | Path | None) -> None:
            nonlocal useful, taken
            useful |= collection.take(candidate, part, outcome, data)
            taken += 1
            if taken % WINDOW == 0:
                collection.store.save()
                on_batch()

        while under_way or (more and collection.missing > 0):
            room = max(min(collection.missing, ahead) - len(under_way), 0) if more else 0
            try:
                for candidate in itertools.islice(candidates, room):
                    room -= 1
                    # What is in the store is not loaded.
                    if outcome := collection.known(candidate):
                        take(candidate, outcome, None)
                    else:
                        under_way.start(candidate)
            except NothingFound as why:
                nothing_there, collection.understood[part.name] = True, str(why)
            except Interrupted as error:
                fault, collection.broke_off = str(error), True
            except SourceError as error:
                if not collection.searched:
                    raise
                fault = str(error)
            more &= room == 0
            for candidate, (found, data) in under_way.ended():
                take(candidate, found, data)
            collection.store.flush()
            collection.so_far.flush()
        collection.store.save()
        on_batch()
        later = sum(refusal.reason in LATER for refusal in collection.refusals[before:])
        if not fault and later and (collection.source.is_list or collection.missing > 0):
            fault = f"{later} pictures are left for another day, since their hosts are busy or do not answer"
        if fault or (collection.searched and not useful and not nothing_there):
            ended = "ended early" if useful else "brought nothing"
            collection.failed[part.name] = f"{ended}: {fault or 'it lists no picture that can be used'}"

    def _candidates(self) -> Iterator[Candidate]:
        collection, part = self._collection, self._part
        tell = functools.partial(collection.understood.__setitem__, part.name)
        candidates = part.candidates(replace(collection.request, tell=tell))
        # Only of a source that ends; drawings do not.
        if part.local and not part.default_limit and collection.request.limit:
            candidates = some_of_each_side(candidates)
        for candidate in candidates:
            yield replace(candidate, number=next(collection.numbers))

    def _begin(self, candidate: Candidate) -> Future[Loaded]:
        if candidate.checked is None:
            keep = functools.partial(self._collection.arrived.keep, candidate.file_url)
            get = functools.partial(self._get, candidate)
            return self._loader.begin(get, functools.partial(self._load, candidate), keep)
        # Only what is gone is loaded again.
        given = functools.partial(loaded, candidate.load)
        return self._loader.begin(bytes, lambda _: self._load(candidate, given))

    def _get(self, candidate: Candidate) -> bytes | Future[bytes]:
        here = self._collection.arrived.get(candidate.file_url)
        return candidate.load() if here is None else here

    def _load(self, candidate: Candidate, given: Given) -> Loaded:
        """What a candidate was found to be before, if its picture is still there; else what it is."""
        if isinstance(known := candidate.checked, Refusal):
            return known, None
        collection, part = self._collection, self._part
        outcome: PictureRow | Refusal
        data: bytes | Path | None
        if known and candidate.picture and sound(candidate.picture, known.sha256):
            outcome, data = known, candidate.picture
        else:
            terms = part.terms(collection.request)
            outcome, data = examined(
                candidate, given, collection.request.label, part.name, terms, self._examine
            )
        if collection.source.local or isinstance(outcome, Refusal):
            return outcome, data
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return replace(outcome, fetched=max(now, collection.earliest)), data


def host_of(candidate: Candidate) -> str:
    """Empty where there is none, as of a path."""
    try:
        return urllib.parse.urlsplit(candidate.file_url).netloc
    except ValueError:
        return ""
