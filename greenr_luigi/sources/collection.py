"""Collecting a class: what a source lists is loaded, checked, named by its content, and written with its manifest."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from greenr_luigi.contracts import ContractError
from greenr_luigi.files import link
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.manifest import MANIFEST, REJECTED, PictureRow, Refusal, read_jsonl, write_jsonl
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources.source import (
    THREADS,
    Candidate,
    Interrupted,
    Request,
    Source,
    SourceError,
    Unavailable,
)

#: Fewer pictures than this teach nothing; fewer are taken only where fewer are asked for.
MINIMUM = 10
#: Pictures loaded at once; each may take 200 MB while it is decoded.
WINDOW = 64


@dataclass
class Collection:
    """A class as far as it is collected."""

    label: str
    #: By sha256.
    rows: dict[str, PictureRow] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    #: How many of the source's candidates were good.
    counted: int = 0
    #: Why the source ended early, if it did.
    interruption: str = ""

    def __str__(self) -> str:
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        return f"{self.label}: {len(self.rows)} pictures{refused}"

    def write(self, out: Path, earlier: Path | None, old: dict[str, PictureRow]) -> dict[str, int]:
        """Write the manifests, and link the pictures of an `earlier` collection, whose rows are `old`. Returns counts
        for people."""
        (out / "pictures").mkdir(exist_ok=True)
        if earlier is not None:
            for sha256 in old.keys() & self.rows.keys():
                link(earlier / old[sha256].file, out / old[sha256].file)
        write_jsonl(out / MANIFEST, self.rows.values())
        write_jsonl(out / REJECTED, self.refusals)
        new = len(self.rows.keys() - old.keys())
        return {"pictures": len(self.rows), "new": new, "refused": len(self.refusals)}


def collect(
    source: Source, request: Request, out: Path, earlier: Path | None, on_progress: OnProgress
) -> dict[str, int]:
    """Fill the empty folder `out` with `pictures/`, `manifest.jsonl` and `rejected.jsonl`; returns counts for people.

    Takes `request.limit` good pictures of those that the source lists first (0: the source's own default). `earlier`,
    the folder of an earlier collection of the same class, keeps its pictures where the source says so; they count
    towards the limit when they are listed again.

    Raises SourceError if the source brings nothing, or fewer than MINIMUM pictures are left.
    """
    source.check(request)
    request = replace(request, limit=request.limit or source.default_limit)
    old = {} if earlier is None or source.keeps == "none" else _examine_again(earlier)[0]
    known = {row.file_url: row for row in old.values() if row.file_url}
    collection = Collection(request.label, dict(old) if source.keeps == "all" else {})
    (out / "pictures").mkdir()
    with ThreadPoolExecutor(os.cpu_count() if source.local else THREADS) as pool:
        for batch in _batches(source.candidates(request), collection, request.limit):
            unknown = [candidate for candidate in batch if candidate.file_url not in known]
            for row in (known[c.file_url] for c in batch if c.file_url in known):
                collection.rows[row.sha256] = row
                collection.counted += 1
            for candidate, outcome in zip(unknown, pool.map(_load, unknown), strict=True):
                _take(collection, candidate, outcome, out)
            goal = request.limit or collection.counted + WINDOW
            on_progress(min(collection.counted / goal, 0.99), str(collection))
    _require_enough(source, request, collection)
    ended = f"; it ended early: {collection.interruption}" if collection.interruption else ""
    on_progress(1, f"{collection}{ended}")
    return collection.write(out, earlier, old)


def examine_again(request: Request, out: Path, earlier: Path) -> dict[str, int] | None:
    """Fill `out` as `collect` does, with the pictures of an earlier collection of the same class, judged and hashed by
    today's code: no source is asked for anything.

    None, and an empty `out`, if a picture is gone or damaged, or too few are left.
    """
    old, refusals, whole = _examine_again(earlier)
    if not whole or len(old) < _least(request):
        return None
    return Collection(request.label, dict(old), refusals).write(out, earlier, old)


def _examine_again(earlier: Path) -> tuple[dict[str, PictureRow], list[Refusal], bool]:
    """The rows of a collection by sha256 and its refusals, and whether all its pictures are there and undamaged."""

    def again(row: PictureRow) -> PictureRow | Refusal | None:
        path = earlier / row.file
        data = path.read_bytes() if path.is_file() else b""
        if door.sha256(data) != row.sha256:
            return None
        try:
            now = examine(data, row.label, row.engine)
        except door.UnusablePicture as error:
            return Refusal(error.reason, str(error), row.file_url)
        return replace(row, dhash=now.dhash, phash=now.phash)

    try:
        rows = read_jsonl(earlier / MANIFEST, PictureRow)
    except (FileNotFoundError, ContractError):
        return {}, [], False
    # Without its list of refusals a collection is damaged, and yet has its pictures.
    refusals: list[Refusal] = []
    listed = False
    with contextlib.suppress(FileNotFoundError, ContractError):
        refusals, listed = read_jsonl(earlier / REJECTED, Refusal), True
    with ThreadPoolExecutor() as pool:
        outcomes = [*pool.map(again, rows)]
    refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    kept = {outcome.sha256: outcome for outcome in outcomes if isinstance(outcome, PictureRow)}
    return kept, refusals, listed and None not in outcomes


def _batches(
    candidates: Iterator[Candidate], collection: Collection, limit: int
) -> Iterator[list[Candidate]]:
    """No more candidates than are missing, until none is missing or the source ends."""
    while (missing := limit - collection.counted if limit else WINDOW) > 0:
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


def _load(candidate: Candidate) -> tuple[bytes, PictureRow] | Refusal:
    """Load a candidate and let it through the door, or say why not. The row has no label yet."""
    try:
        data = candidate.load()
        row = examine(data, "", candidate.engine)
    except (Unavailable, door.UnusablePicture) as error:
        return Refusal(error.reason, str(error), candidate.file_url)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return data, replace(
        row,
        file=f"pictures/{row.file}",
        query=candidate.query,
        page_url=candidate.page_url,
        file_url=candidate.file_url,
        license=candidate.license,
        fetched=now if candidate.dated else None,
    )


def _take(
    collection: Collection, candidate: Candidate, outcome: tuple[bytes, PictureRow] | Refusal, out: Path
) -> None:
    if isinstance(outcome, Refusal):
        collection.refusals.append(outcome)
        return
    data, row = outcome
    if same := collection.rows.get(row.sha256):
        message = f"the same file as {same.file_url}"
        collection.refusals.append(Refusal("duplicate", message, candidate.file_url))
        return
    (out / row.file).write_bytes(data)
    collection.rows[row.sha256] = replace(row, label=collection.label)
    collection.counted += 1


def _least(request: Request) -> int:
    return min(MINIMUM, request.limit or MINIMUM)


def _require_enough(source: Source, request: Request, collection: Collection) -> None:
    """Raises SourceError if there is too little to go on with."""
    if collection.counted and len(collection.rows) >= _least(request):
        return
    reasons = Counter(refusal.reason for refusal in collection.refusals if refusal.reason != "interrupted")
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    searched = f" (searched for as {request.query!r})" if request.query != request.label else ""
    early = f" It ended early: {collection.interruption}." if collection.interruption else ""
    if collection.rows and not collection.counted:
        early += f" The {len(collection.rows)} earlier pictures are still there."
    others = [f"--source {name}" for name in ("bing", "openverse", "folder") if name != source.name]
    raise SourceError(
        f"the source {source.name!r} brought {collection.counted or 'no'} pictures of {request.label!r}{searched}; "
        f"{request.limit or 'all'} were asked for and at least {_least(request)} are needed. Refused: {refused}.{early}"
        f" Try another query, another source ({', '.join(others)}), or your own pictures in --folder"
    )
