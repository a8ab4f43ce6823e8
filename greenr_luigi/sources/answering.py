"""Whether any search engine answers at all, known within seconds."""

from __future__ import annotations

import contextlib
from concurrent import futures

from greenr_luigi import guarded_http
from greenr_luigi.sources.source import Interrupted, Request, Source

#: A name that nobody looks up, or an address that nobody answers at, would take half a minute each.
SECONDS = 4.0


def any_answers(source: Source, request: Request) -> bool:
    """Whether one of the list's engines lists anything. All are asked at once. Raises SourceError as they do."""
    asked = [guarded_http.in_thread(_lists_any, part, request) for part in source.each]
    with contextlib.suppress(TimeoutError):
        return any(future.result() for future in futures.as_completed(asked, SECONDS))
    return False


def _lists_any(part: Source, request: Request) -> bool:
    try:
        return next(part.candidates(request), None) is not None
    except Interrupted:
        return False
