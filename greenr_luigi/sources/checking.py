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
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from greenr_luigi.contracts import plain
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import examine
from greenr_luigi.pictures.manifest import PictureRow, Refusal
from greenr_luigi.pictures.terms import Terms
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError, Unavailable
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
    source: Source, request: Request, number: int, of: int, out: Path, on_progress: OnProgress
) -> dict[str, object]:
    """Fill the empty folder `out` with what the files of one of so many parts are. Returns counts for people."""
    assert source.files is not None
    filesets, label = source.files(request), request.label
    names = [(fileset, name) for fileset in filesets for name in filesets[fileset].names(number, of)]
    (out / PICTURES).mkdir()
    load = functools.partial(examined, label=label, engine=source.name, terms=source.terms(request))
    lines, usable = list[str](), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(names), WINDOW):
            some = names[start : start + WINDOW]
            candidates = [filesets[fileset].candidate(name) for fileset, name in some]
            for (fileset, name), (outcome, data) in zip(some, pool.map(load, candidates), strict=True):
                if data is not None and isinstance(outcome, PictureRow):
                    usable += 1
                    (out / PICTURES / outcome.file).write_bytes(data)
                kind = "picture" if isinstance(outcome, PictureRow) else "refusal"
                # In ASCII: what is no character in a name of the file system is not lost.
                line = {"files": fileset, "name": name, kind: plain(outcome)}
                lines.append(json.dumps(line) + "\n")
            on_progress(len(lines) / len(names), f"{label}: {usable} pictures, {len(lines) - usable} refused")
    (out / CHECKED).write_text("".join(lines))
    return {"pictures": usable, "refused": len(lines) - usable}


def of_parts(source: Source, parts: Iterable[Path], request: Request) -> Iterator[Candidate]:
    """The files of the source as it lists them, with what was found of each. `parts`: the folders that `check` has
    filled. Raises SourceError for a damaged one."""
    assert source.files is not None
    found: dict[str, list[_Found]] = {}
    for part in parts:
        for line in _read(part):
            found.setdefault(line.files, []).append(line)
    for name, fileset in source.files(request).items():
        for line in sorted(found.get(name, []), key=lambda line: listing.order(line.name)):
            yield replace(fileset.candidate(line.name), checked=line.outcome, picture=line.picture)


class _Found(NamedTuple):
    """What a file is, by its name in a set of files, and where its bytes lie."""

    files: str
    name: str
    outcome: PictureRow | Refusal
    picture: Path | None


def _read(part: Path) -> Iterator[_Found]:
    with regular.opened(part / CHECKED) as lines:
        for line in lines:
            try:
                of: dict[str, Any] = json.loads(line)
                files, name = str(of["files"]), str(of["name"])
                if "refusal" in of:
                    yield _Found(files, name, msgspec.convert(of["refusal"], Refusal), None)
                else:
                    row = msgspec.convert(of["picture"], PictureRow)
                    yield _Found(files, name, row, part / PICTURES / row.file)
            except (ValueError, LookupError, TypeError, RecursionError, msgspec.ValidationError):
                raise SourceError(f"{part / CHECKED} is damaged: remove {part}, and run again") from None
