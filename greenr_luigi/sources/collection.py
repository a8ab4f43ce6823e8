"""Collecting a class: what a source lists is loaded, checked, named by its content, and written with its
manifest."""

from __future__ import annotations

import dataclasses
import datetime
import io
import itertools
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from greenr_luigi.pictures import door, hashing
from greenr_luigi.pictures.manifest import Refusal, Row, read_jsonl, write_jsonl
from greenr_luigi.sources import download, registry
from greenr_luigi.sources.candidates import Candidate, Interrupted, Request, SourceError, Unavailable

MANIFEST, REJECTED = "manifest.jsonl", "rejected.jsonl"
#: Fewer pictures than this teach nothing; fewer are taken only where fewer are asked for.
MINIMUM = 10
#: Pictures loaded at once; each may take 200 MB while it is decoded.
WINDOW = 64
ROTATED = (5, 6, 7, 8)


@dataclass
class Found:
    """What a collection holds so far, by sha256; `counted` is how many of the source's candidates were
    good."""

    rows: dict[str, Row] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    counted: int = 0
    fault: str | None = None


def collect(
    source: str, label: str, query: str, limit: int, folder: Path | None, out: Path, earlier: Path | None,
    seed: int, rejected: Collection[str], on_progress: Callable[[float, str], None], *,
    license: str | None = None, minimum: int = MINIMUM,
) -> dict[str, int]:  # fmt: skip
    """Fill the empty folder `out` with `pictures/`, `manifest.jsonl` and `rejected.jsonl`; returns counts for
    people.

    `limit` good pictures of those that the source lists first (0: all of a folder or list). `earlier`, the folder of
    an earlier collection of the same class, keeps its pictures and rows where the source says so; they count
    towards the limit when they are listed again. `rejected` are the sha256 that a person removed: they do not
    count and do not come back. `on_progress` hears a share from 0 to 1 and words.

    Raises SourceError if the source is unknown, brings nothing new or old, or leaves fewer than `minimum`
    pictures.
    """
    origin = registry.find(source)
    registry.check_folder(source, folder)
    if limit < (1 if origin.endless else 0):
        raise SourceError(
            f"--limit is {limit}: expected at least 1 picture a class (0 takes all of a folder or list)"
        )
    (out / "pictures").mkdir()
    old = _earlier(earlier) if earlier is not None and origin.keeps != "none" else {}
    by_address = {row.file_url: row for row in old.values() if row.file_url}
    found = Found(dict(old) if origin.keeps == "all" else {})
    asked = Request(label, query, limit, folder, seed, license)
    threads = os.cpu_count() if origin.keeps == "none" else download.THREADS
    # A file system or decoder may warn in any thread, and Python keeps one list of filters for all of them.
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(threads, thread_name_prefix="collect") as pool,
    ):
        for batch in _batches(origin.candidates(asked), found, limit):
            news = [candidate for candidate in batch if candidate.file_url not in by_address]
            for again in (by_address[c.file_url] for c in batch if c.file_url in by_address):
                found.rows[again.sha256] = again
                found.counted += again.sha256 not in rejected
            for candidate, outcome in zip(news, pool.map(examine, news), strict=True):
                _take(found, candidate, outcome, label, rejected, out)
            on_progress(min(found.counted / (limit or found.counted + WINDOW), 0.99), _words(label, found))
    _judge(source, asked, found, minimum, earlier)
    for sha in old.keys() & found.rows.keys():
        assert earlier is not None
        link(earlier / old[sha].file, out / old[sha].file)
    write_jsonl(out / MANIFEST, found.rows.values())
    write_jsonl(out / REJECTED, found.refusals)
    on_progress(1, _words(label, found) + (f"; it ended early: {found.fault}" if found.fault else ""))
    return {
        "pictures": len(found.rows),
        "new": len(found.rows.keys() - old.keys()),
        "refused": len(found.refusals),
    }


def describe(path: Path, engine: str) -> Row:
    """The row of a picture file that did not come from a source; without a label. Raises
    door.UnusablePicture."""
    outcome = examine(Candidate(lambda: path.read_bytes(), engine, None, path.name))
    if isinstance(outcome, Refusal):
        raise door.UnusablePicture(outcome.reason, f"{path}: {outcome.message}")
    return dataclasses.replace(outcome[1], file=path.name)


def link(old: Path, new: Path) -> None:
    """The same file under a second name where the file system can, a copy where it cannot."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def _batches(candidates: Iterator[Candidate], found: Found, limit: int) -> Iterator[list[Candidate]]:
    """No more candidates than are missing, until none is missing or the source ends."""
    while (missing := limit - found.counted if limit else WINDOW) > 0:
        batch: list[Candidate] = []
        try:
            for candidate in itertools.islice(candidates, min(missing, WINDOW)):
                batch.append(candidate)
        except Interrupted as fault:
            found.fault = str(fault)
            found.refusals.append(Refusal("interrupted", found.fault))
        if batch:
            yield batch
        else:
            return


def examine(candidate: Candidate) -> tuple[bytes, Row] | Refusal:
    """Load a candidate and let it through the door, or say why not. The row lacks what the caller knows."""
    try:
        data = candidate.load()
        image = door.open_picture(data, at_least=hashing.HASHED_SIDE)
    except (Unavailable, door.UnusablePicture) as error:
        return Refusal(error.reason, str(error), candidate.file_url)
    sha = door.sha256(data)
    width, height, ending = _header(data)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds") if candidate.dated else None
    return data, Row(
        f"pictures/{sha[:16]}{ending}", "", sha, door.dhash(image), width, height, len(data),
        candidate.engine, candidate.query, candidate.page_url, candidate.file_url, candidate.license, now,
        hashing.phash(image),
    )  # fmt: skip


def _header(data: bytes) -> tuple[int, int, str]:
    """Width and height of the whole picture, upright (what was decoded for the hash may be smaller), and the file
    ending that goes with its format."""
    with Image.open(io.BytesIO(data), formats=door.FORMATS) as image:
        width, height = image.size
        if image.getexif().get(0x0112) in ROTATED:
            width, height = height, width
        return width, height, door.SUFFIXES[str(image.format)]


def _take(
    found: Found,
    candidate: Candidate,
    outcome: tuple[bytes, Row] | Refusal,
    label: str,
    rejected: Collection[str],
    out: Path,
) -> None:
    if isinstance(outcome, Refusal):
        found.refusals.append(outcome)
        return
    data, row = outcome
    if row.sha256 in rejected:
        found.refusals.append(Refusal("removed", f"a person removed {row.file}", candidate.file_url))
    elif same := found.rows.get(row.sha256):
        found.refusals.append(Refusal("duplicate", f"the same file as {same.file_url}", candidate.file_url))
    else:
        (out / row.file).write_bytes(data)
        found.rows[row.sha256] = dataclasses.replace(row, label=label)
        found.counted += 1


def _judge(source: str, asked: Request, found: Found, minimum: int, earlier: Path | None) -> None:
    """Raises SourceError if there is too little to go on with."""
    needed = min(minimum, asked.limit or minimum)
    if found.counted and len(found.rows) >= needed:
        return
    reasons = Counter(refusal.reason for refusal in found.refusals if refusal.reason != "interrupted")
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "none"
    searched = f" (searched for as {asked.query!r})" if asked.query != asked.label else ""
    kept = (
        f" The {len(found.rows)} earlier pictures are still there."
        if earlier and found.rows and not found.counted
        else ""
    )
    hints = [f"--source {name}" for name in ("bing", "openverse", "folder") if name != source]
    raise SourceError(
        f"the source {source!r} brought {found.counted or 'no'} pictures of {asked.label!r}{searched}; "
        f"{asked.limit or 'all'} were asked for and at least {needed} are needed. Refused: {refused}."
        + (f" It ended early: {found.fault}." if found.fault else "")
        + f"{kept} Try another query, another source ({', '.join(hints)}), or your own pictures in --folder"
    )


def _earlier(place: Path) -> dict[str, Row]:
    """The rows of an earlier collection whose files are whole; what is torn or gone is fetched again."""
    try:
        rows = read_jsonl(place / MANIFEST, Row)
    except (FileNotFoundError, ValueError):
        return {}
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda row: _hashed_again(place / row.file, row), rows)
        return {row.sha256: row for row in found if row is not None}


def _hashed_again(path: Path, row: Row) -> Row | None:
    """A row with the hashes of today's code, as they are compared with those of new pictures."""
    try:
        now = describe(path, row.engine)
    except (FileNotFoundError, door.UnusablePicture):
        return None
    return dataclasses.replace(row, dhash=now.dhash, phash=now.phash) if now.sha256 == row.sha256 else None


def _words(label: str, found: Found) -> str:
    return f"{label}: {len(found.rows)} pictures" + (
        f", {len(found.refusals)} refused" if found.refusals else ""
    )
