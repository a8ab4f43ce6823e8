"""Checking candidates: each as it is listed, or those of a part of a large class by themselves, maybe on another
machine. The class is then collected from what was found of its parts, as if that had just been checked.

    checked.jsonl         what each file or address of a part is: a JSON object a line, sorted by its name
    .pictures/            the usable files, named by their content. Hidden, so that a million files are not looked at
                          twice for changes: the collection links to them, and reads each before it does
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from greenr_luigi import cores
from greenr_luigi.contracts import plain
from greenr_luigi.pictures import door
from greenr_luigi.pictures.examine import Examine, once
from greenr_luigi.pictures.manifest import PictureRow, Refusal
from greenr_luigi.pictures.terms import Terms
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources.loading import Given, Loader
from greenr_luigi.sources.source import Candidate, Request, Source, SourceError, Unavailable
from greenr_luigi.sources.under_way import UnderWay
from greenr_luigi.staleness import listing, regular

CHECKED, PICTURES = "checked.jsonl", ".pictures"
#: So many pictures are a step of progress, and what was found of them is saved together.
WINDOW = 64

#: A candidate with its name and the set of files that it is of, which is empty for an address.
Named = tuple[Mapping[str, str], Candidate]


def examined(
    candidate: Candidate, given: Given, label: str, engine: str, terms: Terms, examine: Examine
) -> tuple[PictureRow | Refusal, bytes | None]:
    """A candidate let through the door, or why not. `given`: gives its bytes, or raises Unavailable."""
    try:
        data = given()
        return examine(data, label, engine, terms), data
    except (Unavailable, door.UnusablePicture) as error:
        return Refusal(error.reason, candidate.placed(f"{error}"), candidate.file_url), None


def check(
    source: Source, request: Request, number: int, of: int, out: Path, on_progress: OnProgress
) -> dict[str, object]:
    """Fill the empty folder `out` with what the files of one of so many parts are. Returns counts for people."""
    assert source.files is not None
    label = request.label
    (out / PICTURES).mkdir()

    def look(candidate: Candidate, given: Given) -> PictureRow | Refusal:
        outcome, data = examined(candidate, given, label, source.name, source.terms(request), examine)
        if data is not None and isinstance(outcome, PictureRow):
            (out / PICTURES / outcome.file).write_bytes(data)
        return outcome

    named = [
        ({"files": name, "name": file}, fileset.candidate(file))
        for name, fileset in source.files(request).items()
        for file in fileset.names(number, of)
    ]
    many = cores.allowed()
    tell = functools.partial(on_progress, 0)
    with once(request.root, tell) as examine, Loader(local=True) as loader:
        under_way = UnderWay[Named, PictureRow | Refusal](
            lambda one: loader.begin(one[1].load, functools.partial(look, one[1])), lambda one: "", many, many
        )
        found = check_all(named, under_way, label, out, on_progress)
    usable = sum(isinstance(outcome, PictureRow) for outcome in found)
    return {"pictures": usable, "refused": len(found) - usable}


def check_all(
    named: Sequence[Named],
    under_way: UnderWay[Named, PictureRow | Refusal],
    label: str,
    out: Path,
    on_progress: OnProgress,
) -> list[PictureRow | Refusal]:
    """Write to the folder `out` what candidates are, as `under_way` says."""
    found: list[PictureRow | Refusal] = []
    lines, usable = list[str](), 0
    for one in named:
        under_way.start(one)
    while under_way:
        for (names, _), outcome in under_way.ended():
            kind = "picture" if isinstance(outcome, PictureRow) else "refusal"
            # In ASCII: what is no character in a name of the file system is not lost.
            lines.append(json.dumps({**names, kind: plain(outcome)}) + "\n")
            found.append(outcome)
            usable += isinstance(outcome, PictureRow)
        on_progress(len(found) / len(named), f"{label}: {usable} pictures, {len(found) - usable} refused")
    lines.sort()
    (out / CHECKED).write_text("".join(lines))
    return found


def of_parts(source: Source, parts: Iterable[Path], request: Request) -> Iterator[Candidate]:
    """The files of the source as it lists them, with what was found of each. `parts`: the folders that `check` has
    filled. Raises SourceError for a damaged one."""
    assert source.files is not None
    found: dict[str, list[Found]] = {}
    for part in parts:
        for line in read(part):
            found.setdefault(line.files, []).append(line)
    for name, fileset in source.files(request).items():
        for line in sorted(found.get(name, []), key=lambda line: listing.order(line.name)):
            yield replace(fileset.candidate(line.name), checked=line.outcome, picture=line.picture)
        yield from fileset.absent()


class Found(NamedTuple):
    """What a file or address is, by its name, of a file in a set of files, and where the bytes of a file lie."""

    files: str
    name: str
    outcome: PictureRow | Refusal
    picture: Path | None


def read(part: Path) -> Iterator[Found]:
    """What was found of a part. Raises SourceError for what is damaged."""
    with regular.opened(part / CHECKED) as lines:
        for line in lines:
            try:
                of: dict[str, Any] = json.loads(line)
                files, name = str(of["files"]), str(of["name"])
                if "refusal" in of:
                    found = Found(files, name, msgspec.convert(of["refusal"], Refusal), None)
                else:
                    row = msgspec.convert(of["picture"], PictureRow)
                    found = Found(files, name, row, part / PICTURES / row.file)
            except (ValueError, LookupError, TypeError, RecursionError, msgspec.ValidationError):
                raise SourceError(f"{part / CHECKED} is damaged: remove {part}, and run again") from None
            yield found
