"""What the addresses of a part of a long list are: fetched and checked by themselves, maybe on another machine. Nothing
is put into the store of the class before all parts are there and the class is collected, in the order of the list.

    collected/<label>/.fetched/<32 hex>     a usable picture by the digest of its address, from when it has come until
                                            the class is collected: a part that is killed, or made again before that,
                                            fetches none of them twice
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from greenr_luigi import contracts, files
from greenr_luigi.pictures.examine import once
from greenr_luigi.pictures.manifest import PictureRow, Refusal
from greenr_luigi.progress import OnProgress
from greenr_luigi.sources import checking, collected, hosts
from greenr_luigi.sources.asking import host_of
from greenr_luigi.sources.checking import examined
from greenr_luigi.sources.loading import Given, Loader
from greenr_luigi.sources.source import (
    LATER,
    PASSING,
    UNDER_WAY,
    Candidate,
    Request,
    Source,
    SourceError,
    Unavailable,
)
from greenr_luigi.sources.store import sound
from greenr_luigi.sources.under_way import UnderWay
from greenr_luigi.staleness import regular

FOLDER = ".fetched"
NAME = "[0-9a-f]{32}"


def check(
    source: Source,
    request: Request,
    addresses: Sequence[str],
    refused: Mapping[str, Refusal],
    out: Path,
    on_progress: OnProgress,
) -> dict[str, object]:
    """Fill the empty folder `out` with what these addresses of a list are. `refused`: what of them stays refused, and
    is not asked for; what is in the store is not, either. Returns counts for people, and how many may come another
    time, `passing` and `later`, if any."""
    folder = collected.folder(request.root, request.label)
    spool = folder / FOLDER
    files.refuse_strange_link(folder.parent, folder, spool)
    spool.mkdir(parents=True, exist_ok=True)
    mine = {*addresses}
    known = _known(folder / collected.ORIGINS, mine)

    fetched = set[str]()

    def load(candidate: Candidate) -> bytes | Future[bytes]:
        url = candidate.file_url
        origin = known.get(url)
        if origin and not (folder / origin.file).exists():
            raise Unavailable("deleted", f"{origin.file} was deleted from {folder}")
        here = (sound(folder / origin.file, origin.sha256) if origin else None) or _read(_place(folder, url))
        if here is None and (again := refused.get(url)):
            raise Unavailable(again.reason, again.message)
        if here is None:
            fetched.add(url)
        return candidate.load() if here is None else here

    def look(candidate: Candidate, given: Given) -> PictureRow | Refusal:
        # In which line it stands is told when the class is collected: by then it may be another.
        bare, terms = replace(candidate, place=""), source.terms(request)
        outcome, data = examined(bare, given, request.label, source.name, terms, examine)
        if data is not None and candidate.file_url in fetched:
            files.write(_place(folder, candidate.file_url), data)
        return outcome

    def begin(one: checking.Named) -> Future[PictureRow | Refusal]:
        _, candidate = one
        return loader.begin(functools.partial(load, candidate), functools.partial(look, candidate))

    candidates = [
        ({"files": "", "name": candidate.file_url}, candidate)
        for candidate in source.candidates(request)
        if candidate.file_url in mine
    ]
    tell = functools.partial(on_progress, 0)
    with once(request.root, tell) as examine, Loader() as loader:
        under_way = UnderWay[checking.Named, PictureRow | Refusal](
            begin, lambda one: host_of(one[1]), UNDER_WAY, hosts.at_once(request.per_host)
        )
        found = checking.check_all(candidates, under_way, request.label, out, on_progress)
    reasons = Counter(outcome.reason for outcome in found if isinstance(outcome, Refusal))
    passing = sum(count for reason, count in reasons.items() if PASSING.search(reason))
    later = sum(reasons[reason] for reason in LATER)
    more = {"passing": passing, "later": later}
    return {
        "pictures": len(found) - reasons.total(),
        "refused": reasons.total(),
        **{name: count for name, count in more.items() if count},
    }


@dataclass(frozen=True)
class _Known:
    """What is wanted of an Origin."""

    file: contracts.Name
    sha256: str
    file_url: str | None = None


def _known(log: Path, addresses: Container[str | None]) -> dict[str | None, _Known]:
    """Those of these addresses of which the store has a picture. A line at a time: of a long list there are many, and
    each part looks. Nobody need wait: what is added just now is of other addresses, or comes to the same."""
    known: dict[str | None, _Known] = {}
    if log.exists():
        with regular.opened(log) as lines:
            for line in lines:
                known |= {
                    row.file_url: row for row in contracts.rows(line, _Known) if row.file_url in addresses
                }
    return known


def refusals(output: Path) -> dict[str, Refusal]:
    """What an earlier output of a part says is refused, by address. Empty where it is missing or damaged."""
    try:
        found = checking.read(output)
        return {line.name: line.outcome for line in found if isinstance(line.outcome, Refusal)}
    except (OSError, SourceError):
        return {}


def joined(
    source: Source, request: Request, shards: Sequence[Path]
) -> tuple[Source, Mapping[str, PictureRow]]:
    """The list as a source that has been checked in parts, and what was found of its pictures by their sha256.
    `shards`: the folders that `check` has filled. Raises SourceError for a damaged one."""
    found = {line.name: line.outcome for shard in shards for line in checking.read(shard)}
    folder = collected.folder(request.root, request.label)

    def candidates(request: Request) -> Iterator[Candidate]:
        for candidate in source.candidates(request):
            outcome = found.get(candidate.file_url)
            if isinstance(outcome, Refusal):
                outcome = replace(outcome, message=candidate.placed(outcome.message))
            yield replace(candidate, checked=outcome, picture=_place(folder, candidate.file_url))

    rows = {row.sha256: row for row in found.values() if isinstance(row, PictureRow)}
    return replace(source, candidates=candidates), rows


def clear(folder: Path) -> None:
    """Remove what was fetched for a class, all of which is in its store now, or has left the list. What another part is
    just writing stays."""
    for path in _named(folder, NAME):
        path.unlink(missing_ok=True)


def leftovers(root: Path) -> list[Path]:
    """What killed runs were just writing."""
    return [
        path
        for folder in sorted((root / collected.FOLDER).glob("*"))
        for path in _named(folder, ".*")
        if files.is_left_of(path, NAME)
    ]


def _named(folder: Path, pattern: str) -> list[Path]:
    spool = folder / FOLDER
    paths = spool.iterdir() if spool.is_dir() and not spool.is_symlink() else ()
    return sorted(path for path in paths if re.fullmatch(pattern, path.name))


def _place(folder: Path, address: str) -> Path:
    name = hashlib.blake2b(address.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return folder / FOLDER / name


def _read(path: Path) -> bytes | None:
    return regular.read(path) if path.is_file() and not path.is_symlink() else None
