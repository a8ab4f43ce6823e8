"""Collecting a class: what a source lists is loaded, checked, named by its content, and written with its manifest."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from greenr_luigi.contracts import ContractError
from greenr_luigi.files import link
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_jsonl, write_jsonl
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import licenses, store
from greenr_luigi.sources.source import (
    THREADS,
    Candidate,
    Interrupted,
    Request,
    Source,
    SourceError,
    Unavailable,
)
from greenr_luigi.sources.store import Origin, Store

#: Fewer pictures than this teach nothing; fewer are taken only where fewer are asked for.
MINIMUM = 10
#: Reasons of refusals that may be gone later: no network, a server that is slow, busy or out of order.
PASSING = re.compile(r"\b(network|slow|http-(408|429|5\d\d))\b")
#: Pictures loaded at once; each may take 200 MB while it is decoded.
WINDOW = 64


class Collection:
    """What is used of a store for a request to a source, as far as the source has been asked."""

    def __init__(self, source: Source, request: Request, pictures: Store) -> None:
        self.source, self.request, self.store = source, request, pictures
        self.refusals: list[Refusal] = []
        #: The address of each good picture that the source has listed, by sha256.
        self.listed: dict[str, str] = {}
        #: Why the source ended early, if it did.
        self.interruption = ""
        self._searched = not (source.local or source.is_list)
        self._sha256: dict[str | None, str] = {}
        #: The ways in which pictures came by which they may be used: sha256 and address, and the first way by sha256.
        self._ways: set[tuple[str, str | None]] = set()
        self._first: dict[str, Origin] = {}
        for origin in pictures.origins:
            self._note(origin)

    def __str__(self) -> str:
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        return f"{self.request.label}: {len(self.rows())} pictures{refused}"

    def rows(self) -> list[PictureRow]:
        """The pictures that are used: all of the store that may be, or those that the source has listed."""
        return [
            self._first[sha256].as_row(file=f"pictures/{row.file}", dhash=row.dhash, phash=row.phash)
            for sha256 in (self._first if self._searched else self.listed)
            if isinstance(row := self.store.pictures.get(sha256), PictureRow)
        ]

    def damaged(self) -> list[Refusal]:
        """What might be used if its file were still what came, and has not come again."""
        words = f"was edited in {self.store.folder}, and did not come again"
        return [
            Refusal("damaged", f"{origin.file} {words}", origin.file_url)
            for sha256, origin in self._first.items()
            if sha256 not in self.store.pictures
        ]

    def take(self, batch: Sequence[Candidate], pool: Executor) -> None:
        """Take what the source lists next; what is in the store is not loaded."""
        unknown = []
        for candidate in batch:
            if outcome := self.store.pictures.get(self._sha256.get(candidate.file_url, "")):
                self._take(candidate, outcome, None)
            else:
                unknown.append(candidate)
        for candidate, (outcome, data) in zip(unknown, pool.map(self._load, unknown), strict=True):
            self._take(candidate, outcome, data)
        self.store.save()

    def _load(self, candidate: Candidate) -> tuple[PictureRow | Refusal, bytes | None]:
        """Load a candidate and let it through the door, or say why not."""
        try:
            data = candidate.load()
            row = examine(data, self.request.label, self.source.name)
        except (Unavailable, door.UnusablePicture) as error:
            return Refusal(error.reason, str(error), candidate.file_url), None
        if self.source.local:
            return row, data
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return replace(row, fetched=now), data

    def _take(self, candidate: Candidate, outcome: PictureRow | Refusal, data: bytes | None) -> None:
        if isinstance(outcome, PictureRow) and outcome.sha256 in self.store.pictures:
            outcome, data = self.store.pictures[outcome.sha256], None
        url = candidate.file_url
        if isinstance(outcome, Refusal):
            self.refusals.append(replace(outcome, file_url=url))
            return
        if same := self.listed.get(outcome.sha256):
            self.refusals.append(Refusal("duplicate", f"the same file as {same}", url))
        self.listed.setdefault(outcome.sha256, url)
        if (outcome.sha256, url) not in self._ways:
            origin = Origin.of(
                outcome,
                engine=self.source.name,
                query=self.request.query if self._searched else None,
                page_url=candidate.page_url,
                file_url=url,
                license=candidate.license,
                asked=self.request.license,
                listed=self.source.is_list,
            )
            self.store.add(origin)
            self._note(origin)
        if data is not None:
            self.store.put(outcome, data)

    def _note(self, origin: Origin) -> None:
        self._sha256[origin.file_url] = origin.sha256
        wanted = self.request.license
        allowed = not wanted or any(
            licenses.allows(known, wanted) for known in (origin.license, origin.asked)
        )
        if not self._searched or (allowed and not origin.listed):
            self._ways.add((origin.sha256, origin.file_url))
            self._first.setdefault(origin.sha256, origin)


def collect(
    source: Source, request: Request, out: Path, earlier: Mapping[Path, str], on_progress: OnProgress
) -> dict[str, int]:
    """Fill the empty folder `out` with `pictures/`, `manifest.jsonl` and `rejected.jsonl`; returns counts for people.

    Asks the source until `request.limit` good pictures are listed (0: the source's own default). Unless it is
    local, what comes goes into the store of the class under `request.root`, of which `out` is a view, and what is
    there is not loaded again. `earlier`: see `store.opened`.

    Raises SourceError if the source brings nothing, or fewer than MINIMUM pictures are left.
    """
    source.check(request)
    request = replace(request, limit=request.limit or source.default_limit)
    (out / "pictures").mkdir()

    def on_wait(who: str) -> None:
        on_progress(0, f"{request.label}: waits for another run that collects it: {who}")

    with contextlib.ExitStack() as stack:
        if source.local:
            pictures = Store(out / "pictures")
        else:
            pictures = stack.enter_context(store.opened(request.root, request.label, earlier, on_wait))
        before = frozenset(pictures.pictures)
        collection = Collection(source, request, pictures)
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count() if source.local else THREADS))
        for batch in _batches(source.candidates(request), collection):
            collection.take(batch, pool)
            goal = request.limit or len(collection.listed) + WINDOW
            on_progress(min(len(collection.listed) / goal, 0.99), str(collection))
        collection.refusals += collection.damaged()
        _require_enough(collection)
        ended = f"; it ended early: {collection.interruption}" if collection.interruption else ""
        on_progress(1, f"{collection}{ended}")
        return _write(out, pictures.folder, collection.rows(), collection.refusals, before)


def examine_again(request: Request, out: Path, earlier: Path) -> dict[str, int] | None:
    """Fill `out` as `collect` does, with the pictures of an earlier collection of the same class, judged and hashed by
    today's code: no source is asked for anything.

    None, and an empty `out`, if a picture or the list of refusals is gone or damaged, or too few are left.
    """
    try:
        old = read_jsonl(earlier / MANIFEST, PictureRow)
        refusals = read_jsonl(earlier / REJECTED, Refusal)
    except (FileNotFoundError, ContractError):
        return None
    outcomes = store.examine_all(earlier, old)
    rows = [outcome for outcome in outcomes if isinstance(outcome, PictureRow)]
    if None in outcomes or len(rows) < _least(request):
        return None
    refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    (out / "pictures").mkdir()
    return _write(out, earlier / "pictures", rows, refusals, {row.sha256 for row in old})


def _write(
    out: Path, pictures: Path, rows: Sequence[PictureRow], refusals: Sequence[Refusal], before: Container[str]
) -> dict[str, int]:
    """Link the pictures of these rows and write the manifests. Returns counts for people; new is what was not there
    `before`, by sha256."""
    if pictures != out / "pictures":
        for row in rows:
            link(pictures / Path(row.file).name, out / row.file)
    write_jsonl(out / MANIFEST, rows)
    write_jsonl(out / REJECTED, refusals)
    new = sum(row.sha256 not in before for row in rows)
    return {"pictures": len(rows), "new": new, "refused": len(refusals)}


def _batches(candidates: Iterator[Candidate], collection: Collection) -> Iterator[list[Candidate]]:
    """No more candidates than are missing, until none is missing or the source ends."""
    limit = collection.request.limit
    while (missing := limit - len(collection.listed) if limit else WINDOW) > 0:
        batch: list[Candidate] = []
        try:
            for candidate in itertools.islice(candidates, min(missing, WINDOW)):
                batch.append(candidate)
        except Interrupted as fault:
            collection.interruption = str(fault)
            collection.refusals.append(Refusal("interrupted", str(fault)))
        if not batch:
            return
        yield batch


def _least(request: Request) -> int:
    return min(MINIMUM, request.limit or MINIMUM)


def _require_enough(collection: Collection) -> None:
    """Raises SourceError if there is too little to go on with."""
    source, request, rows = collection.source.name, collection.request, collection.rows()
    if collection.listed and len(rows) >= _least(request):
        return
    reasons = Counter(refusal.reason for refusal in collection.refusals if refusal.reason != "interrupted")
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    searched = f" (searched for as {request.query!r})" if request.query != request.label else ""
    early = f" It ended early: {collection.interruption}." if collection.interruption else ""
    if rows and not collection.listed:
        early += f" The {len(rows)} earlier pictures are still there."
    others = [f"--source {name}" for name in ("bing", "openverse", "folder") if name != source]
    raise SourceError(
        f"the source {source!r} brought {len(collection.listed) or 'no'} pictures of {request.label!r}{searched}; "
        f"{request.limit or 'all'} were asked for and at least {_least(request)} are needed. Refused: {refused}.{early}"
        f" Try another query, another source ({', '.join(others)}), or your own pictures in --folder",
        passing=bool(collection.interruption) or PASSING.search(" ".join(reasons)) is not None,
    )
