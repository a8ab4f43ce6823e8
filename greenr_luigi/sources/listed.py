"""What is used of a store for a request: of what its source has listed so far, the pictures, the refusals, and what is
known already."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from greenr_luigi.pictures.manifest import PictureRow, Refusal, held_out_first
from greenr_luigi.sources import licenses
from greenr_luigi.sources.arrived import Arrived
from greenr_luigi.sources.refused import SoFar
from greenr_luigi.sources.source import (
    Candidate,
    Request,
    Source,
)
from greenr_luigi.sources.store import Origin, Store

#: Addresses of a list that are looked at before the first of them has come.
AHEAD = 100_000


class Collection:
    """What is used of a store for a request to a source, as far as the source has been asked. `source`: one, or a list
    of those that are asked in turn. `refused`: what is not asked for again, by address; `so_far`: nor is this.
    `arrived`: what has come, and is not checked."""

    def __init__(
        self,
        source: Source,
        request: Request,
        pictures: Store,
        refused: Mapping[str, Refusal],
        so_far: SoFar,
        arrived: Arrived,
    ) -> None:
        self.source, self.request, self.store = source, request, pictures
        self.so_far, self.arrived = so_far, arrived
        self._refused = {**so_far.before, **refused}
        self.refusals: list[Refusal] = []
        #: Each good picture as the source has listed it, by sha256.
        self.listed: dict[str, Candidate] = {}
        #: What went wrong with a search engine, and what one understood of the query, by its name.
        self.failed: dict[str, str] = {}
        self.understood: dict[str, str] = {}
        #: Whether any of it may have passed when it is asked again.
        self.broke_off = False
        self.searched = not (source.local or source.is_list)
        self.numbers = itertools.count()
        self._sha256: dict[str | None, str] = {}
        #: The ways in which pictures came by which they may be used: sha256 and address, and the first way by sha256.
        self._ways: set[tuple[str, str | None]] = set()
        self._first: dict[str, Origin] = {}
        #: Later than all that was there before, whatever the clock says: what comes after a decision is told by it.
        self.earliest = _second_after(max((origin.fetched or "" for origin in pictures.origins), default=""))
        for origin in pictures.origins:
            self._note(origin)

    def __str__(self) -> str:
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        if not self.searched:
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
            for sha256 in (self._first if self.searched else self.listed)
            if isinstance(row := self.store.pictures.get(sha256), PictureRow)
        ]

    def _said(self, sha256: str) -> dict[str, str | None]:
        """What a folder or list says of a picture counts as it says it now, and not as it did when the picture came."""
        if self.searched:
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

    def known(self, candidate: Candidate) -> PictureRow | Refusal | None:
        """What a candidate is that need not be loaded."""
        known = self.store.pictures.get(self._sha256.get(candidate.file_url, ""))
        if known is None and (refused := self._refused.get(candidate.file_url)):
            return replace(refused, message=candidate.placed(refused.message))
        return known

    def words(self) -> str:
        """What was understood, for a person."""
        return "; ".join(f"{name}: {words}" for name, words in self.understood.items())

    def faults(self) -> str:
        """What went wrong, for a person."""
        return "; ".join(f"{name} {words}" for name, words in self.failed.items())

    def take(
        self, candidate: Candidate, part: Source, outcome: PictureRow | Refusal, data: bytes | Path | None
    ) -> bool:
        """Note what a candidate of a source is. Returns whether it is a picture."""
        if isinstance(outcome, PictureRow) and outcome.sha256 in self.store.pictures:
            outcome, data = self.store.pictures[outcome.sha256], None
        url = candidate.file_url
        if isinstance(outcome, Refusal):
            self.refusals.append(replace(outcome, file_url=url))
            self.so_far.note(candidate, outcome)
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
                query=self.request.query if self.searched else None,
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
        if not self.searched or (allowed and not origin.listed):
            self._ways.add((origin.sha256, origin.file_url))
            first = self._first.setdefault(origin.sha256, origin)
            if not first.author and first.file_url == origin.file_url:
                # Earlier versions did not note who made it.
                self._first[origin.sha256] = replace(first, author=origin.author)


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
