"""Asking a search for freely licensed pictures only."""

from __future__ import annotations

from collections.abc import Collection

from greenr_luigi.sources.source import SourceError

#: What a person may ask for: what the pictures may be used for.
KINDS = ("noncommercial", "commercial", "noncommercial,modify", "commercial,modify", "publicdomain")


def check(source: str, kind: str | None, offered: Collection[str] = KINDS) -> str | None:
    """The kind, None for any. Raises SourceError if it is none of KINDS, or none that the source can filter by."""
    if kind is not None and kind not in KINDS:
        raise SourceError(f"the licence {kind!r} is not known: expected one of {' '.join(KINDS)}")
    if kind is not None and kind not in offered:
        raise SourceError(
            f"the source {source!r} cannot filter for licence {kind!r}: use flickr or bing, or none"
        )
    return kind
