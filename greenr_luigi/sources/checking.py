"""Checking candidates: each as it is listed, or those of a part of a large class by themselves, maybe on another
machine. The class is then collected from what was found of its parts, as if that had just been checked.

    checked.jsonl         what each file of a part is: a JSON object a line, sorted by the file's name
    .pictures/            the usable ones, named by their content. Hidden, so that a million files are not looked at
                          twice for changes: the collection links to them, and reads each before it does
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from greenr_luigi.contracts import plain
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal
from greenr_luigi.pictures.terms import STRANGERS, Terms
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources.source import Candidate, Source, SourceError, Unavailable
from greenr_luigi.staleness import listing, regular

CHECKED, PICTURES = "checked.jsonl", ".pictures"
#: So many pictures are a step of progress, and what was found of them is saved together.
WINDOW = 64
#: Pictures decoded at once, each of which may take 200 MB; many more may be under way.
DECODING = threading.BoundedSemaphore(os.cpu_count() or 1)


def examined(
    candidate: Candidate, label: str, engine: str, terms: Terms
) -> tuple[PictureRow | Refusal, bytes | None]:
    """A candidate loaded and let through the door, or why not."""
    try:
        data = candidate.load()
        with DECODING:
            return examine(data, label, engine, terms), data
    except (Unavailable, door.UnusablePicture) as error:
        return Refusal(error.reason, candidate.placed(f"{error}"), candidate.file_url), None


def check(
    source: Source,
    top: Path,
    names: Sequence[str],
    label: str,
    out: Path,
    on_progress: OnProgress,
    terms: Terms = STRANGERS,
) -> dict[str, object]:
    """Fill the empty folder `out` with what these files below `top` are. Returns counts for people."""
    assert source.named is not None
    (out / PICTURES).mkdir()
    load = functools.partial(examined, label=label, engine=source.name, terms=terms)
    lines, usable = list[str](), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), WINDOW):
            some = names[start : start + WINDOW]
            for name, (outcome, data) in zip(some, pool.map(load, source.named(top, some)), strict=True):
                if data is not None and isinstance(outcome, PictureRow):
                    usable += 1
                    (out / PICTURES / outcome.file).write_bytes(data)
                kind = "picture" if isinstance(outcome, PictureRow) else "refusal"
                # In ASCII: what is no character in a name of the file system is not lost.
                lines.append(json.dumps({"name": name, kind: plain(outcome)}) + "\n")
            on_progress(len(lines) / len(names), f"{label}: {usable} pictures, {len(lines) - usable} refused")
    (out / CHECKED).write_text("".join(lines))
    return {"pictures": usable, "refused": len(lines) - usable}


def of_parts(source: Source, top: Path, parts: Iterable[Path]) -> Iterator[Candidate]:
    """The files below `top` as the source lists them, with what was found of each. `parts`: the folders that `check`
    has filled. Raises SourceError for a damaged one."""
    assert source.named is not None
    found = sorted((line for part in parts for line in _read(part)), key=lambda line: listing.order(line[0]))
    named = source.named(top, (name for name, _, _ in found))
    for candidate, (_, outcome, picture) in zip(named, found, strict=True):
        yield replace(candidate, checked=outcome, picture=picture)


def _read(part: Path) -> Iterator[tuple[str, PictureRow | Refusal, Path | None]]:
    """By name: what a file is, and where its bytes lie."""
    with regular.opened(part / CHECKED) as lines:
        for line in lines:
            try:
                of: dict[str, Any] = json.loads(line)
                if "refusal" in of:
                    yield str(of["name"]), msgspec.convert(of["refusal"], Refusal), None
                else:
                    row = msgspec.convert(of["picture"], PictureRow)
                    yield str(of["name"]), row, part / PICTURES / row.file
            except (ValueError, LookupError, TypeError, RecursionError, msgspec.ValidationError):
                raise SourceError(f"{part / CHECKED} is damaged: remove {part}, and run again") from None
