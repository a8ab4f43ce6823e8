"""Collecting a class: what a source lists is loaded, checked, named by its content, and written with its manifest."""

from __future__ import annotations

import datetime
import itertools
import os
import time
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
    """What has been collected so far: rows by sha256, and what was refused. `counted`: how many of the source's
    candidates were good; `interruption`: why the source ended early, if it did."""

    rows: dict[str, PictureRow] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    counted: int = 0
    interruption: str = ""

    def describe(self, label: str) -> str:
        refused = f", {len(self.refusals)} refused" if self.refusals else ""
        return f"{label}: {len(self.rows)} pictures{refused}"


def collect(
    source: Source,
    request: Request,
    out: Path,
    earlier: Path | None,
    search_again: bool,
    on_progress: OnProgress,
) -> dict[str, object]:
    """Fill the empty folder `out` with `pictures/`, `manifest.jsonl` and `rejected.jsonl`; returns counts for people,
    and when the source was asked (`searched`, seconds since 1970) if it was.

    Takes `request.limit` good pictures of those that the source lists first (0: the source's own default). `earlier`,
    the folder of an earlier collection of the same class, keeps its pictures where the source says so; they count
    towards the limit when they are listed again. Unless `search_again`, a source that keeps all pictures is not asked:
    those at hand are examined by today's code, as long as none of them is damaged.

    Raises SourceError if the source brings nothing, or fewer than MINIMUM pictures are left.
    """
    if source.needs_folder and request.folder is None:
        raise SourceError(f"the source {source.name!r} needs --folder: {source.hint}")
    if request.folder is not None and not request.folder.exists():
        raise SourceError(f"--folder {request.folder} does not exist: give the path of an existing one")
    (out / "pictures").mkdir()
    request = replace(request, limit=request.limit or source.default_limit)
    collection, old, whole = Collection(), dict[str, PictureRow](), False
    if earlier is not None and source.keeps != "none":
        collection, whole = examine_again(earlier)
        old = dict(collection.rows)
    searched: dict[str, object] = {}
    if search_again or not whole or source.keeps != "all":
        collection = Collection(dict(old) if source.keeps == "all" else {})
        ask(source, request, collection, old, out, on_progress)
        searched = {"searched": time.time()}
    require_enough(source, request, collection)
    if earlier is not None:
        for sha256 in old.keys() & collection.rows.keys():
            link(earlier / old[sha256].file, out / old[sha256].file)
    write_jsonl(out / MANIFEST, collection.rows.values())
    write_jsonl(out / REJECTED, collection.refusals)
    ended = f"; it ended early: {collection.interruption}" if collection.interruption else ""
    on_progress(1, collection.describe(request.label) + ended)
    new, refused = len(collection.rows.keys() - old.keys()), len(collection.refusals)
    return {"pictures": len(collection.rows), "new": new, "refused": refused} | searched


def ask(
    source: Source,
    request: Request,
    collection: Collection,
    old: dict[str, PictureRow],
    out: Path,
    on_progress: OnProgress,
) -> None:
    """Add what the source lists to the collection, and write new pictures to `out/pictures`. `old`: rows of an earlier
    collection by sha256, whose addresses need not be fetched again."""
    by_address = {row.file_url: row for row in old.values() if row.file_url}
    threads = os.cpu_count() if source.local else THREADS
    with ThreadPoolExecutor(threads, thread_name_prefix="collect") as pool:
        for batch in _batches(source.candidates(request), collection, request.limit):
            unknown = [candidate for candidate in batch if candidate.file_url not in by_address]
            for row in (by_address[c.file_url] for c in batch if c.file_url in by_address):
                collection.rows[row.sha256] = row
                collection.counted += 1
            for candidate, outcome in zip(unknown, pool.map(load, unknown), strict=True):
                _take(collection, candidate, outcome, request.label, out)
            goal = request.limit or collection.counted + WINDOW
            on_progress(min(collection.counted / goal, 0.99), collection.describe(request.label))


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


def load(candidate: Candidate) -> tuple[bytes, PictureRow] | Refusal:
    """Load a candidate and let it through the door, or say why not. The row has no label yet."""
    try:
        data = candidate.load()
        row = examine(data, "", candidate.engine)
    except (Unavailable, door.UnusablePicture) as error:
        return Refusal(error.reason, str(error), candidate.file_url)
    return data, replace(
        row,
        file=f"pictures/{row.file}",
        query=candidate.query,
        page_url=candidate.page_url,
        file_url=candidate.file_url,
        license=candidate.license,
        fetched=_now() if candidate.dated else None,
    )


def _take(
    collection: Collection,
    candidate: Candidate,
    outcome: tuple[bytes, PictureRow] | Refusal,
    label: str,
    out: Path,
) -> None:
    if isinstance(outcome, Refusal):
        collection.refusals.append(outcome)
        return
    data, row = outcome
    if same := collection.rows.get(row.sha256):
        collection.refusals.append(
            Refusal("duplicate", f"the same file as {same.file_url}", candidate.file_url)
        )
        return
    (out / row.file).write_bytes(data)
    collection.rows[row.sha256] = replace(row, label=label)
    collection.counted += 1


def examine_again(earlier: Path) -> tuple[Collection, bool]:
    """The collection in a folder, examined by today's code, and whether all its pictures were there and undamaged."""
    try:
        rows = read_jsonl(earlier / MANIFEST, PictureRow)
        refusals = read_jsonl(earlier / REJECTED, Refusal)
    except (FileNotFoundError, ContractError):
        return Collection(), False
    with ThreadPoolExecutor() as pool:
        outcomes = [*pool.map(lambda row: _examine_again(earlier, row), rows)]
    kept = [outcome for outcome in outcomes if isinstance(outcome, PictureRow)]
    refusals += [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    collection = Collection({row.sha256: row for row in kept}, refusals, counted=len(kept))
    return collection, None not in outcomes


def _examine_again(earlier: Path, row: PictureRow) -> PictureRow | Refusal | None:
    """A row with today's hashes; None if its picture is gone or damaged."""
    try:
        data = (earlier / row.file).read_bytes()
    except FileNotFoundError:
        return None
    if door.sha256(data) != row.sha256:
        return None
    try:
        now = examine(data, row.label, row.engine)
    except door.UnusablePicture as error:
        return Refusal(error.reason, str(error), row.file_url)
    return replace(row, dhash=now.dhash, phash=now.phash)


def require_enough(source: Source, request: Request, collection: Collection) -> None:
    """Raises SourceError if there is too little to go on with."""
    needed = min(MINIMUM, request.limit or MINIMUM)
    if collection.counted and len(collection.rows) >= needed:
        return
    reasons = Counter(refusal.reason for refusal in collection.refusals if refusal.reason != "interrupted")
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    searched = f" (searched for as {request.query!r})" if request.query != request.label else ""
    earlier = (
        f" The {len(collection.rows)} earlier pictures are still there."
        if collection.rows and not collection.counted
        else ""
    )
    others = [f"--source {name}" for name in ("bing", "openverse", "folder") if name != source.name]
    early = f" It ended early: {collection.interruption}." if collection.interruption else ""
    raise SourceError(
        f"the source {source.name!r} brought {collection.counted or 'no'} pictures of {request.label!r}{searched}; "
        f"{request.limit or 'all'} were asked for and at least {needed} are needed. Refused: {refused}.{early}{earlier}"
        f" Try another query, another source ({', '.join(others)}), or your own pictures in --folder"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
