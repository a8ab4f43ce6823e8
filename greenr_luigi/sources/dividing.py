"""In how many parts a class is checked, and which addresses of a list fall to each. Imports nothing heavy, since it is
asked in runs that have nothing to do."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.sources.source import Request, Source
from greenr_luigi.staleness import listing, regular


def parts(count: int, limit: int, most: int) -> int:
    """Of so many files or addresses: 1 where these are no more than `most`, or where a limit is less than half of them;
    else a power of two, so that a class that grows is seldom divided anew."""
    if count <= most or 0 < 2 * limit < count:
        return 1
    return 1 << ((count - 1) // most).bit_length()


def addresses(source: Source, request: Request, most: int) -> int:
    """How many addresses a list has for a class, at most the limit; 0 where these are no more than `most`."""
    for path in source.reads(request.label, request.folder, request.root).values():
        state = _state(path)
        if _lines(path, *state) > most:
            return len(_addresses(source, request, *state))
    return 0


def part(source: Source, request: Request, number: int, of: int) -> Sequence[str]:
    """The addresses of a list that fall to one of so many parts, in their order; none where there is no such list."""
    (path,) = source.reads(request.label, request.folder, request.root).values()
    return _divided(source, request, of, *_state(path))[number]


def _state(path: Path) -> tuple[int, int]:
    """What changes with a list; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1024)
def _lines(path: Path, *state: int) -> int:
    """No fewer than there are in a file: to read a list takes longer."""
    try:
        data = regular.read(path)
    except OSError:
        return 0
    return 1 + data.count(b"\n") + data.count(b"\r")


@functools.lru_cache(maxsize=1)
def _addresses(source: Source, request: Request, *state: int) -> Sequence[str]:
    assert source.addresses is not None
    try:
        return source.addresses(request)
    except (GreenrError, OSError):
        # Said when the list is collected.
        return ()


@functools.lru_cache(maxsize=1)
def _divided(source: Source, request: Request, of: int, *state: int) -> list[list[str]]:
    """Remembered, as long as the list is in that state: each part of it asks."""
    divided: list[list[str]] = [[] for _ in range(of)]
    for address in _addresses(source, request, *state):
        divided[listing.part_of(address.encode(errors="surrogatepass"), of)].append(address)
    return divided
