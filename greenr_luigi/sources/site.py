"""One web site: the pictures that its pages show, from an address on."""

from __future__ import annotations

from collections.abc import Iterator

from greenr_luigi.sources.source import Candidate, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from greenr_luigi.sources.crawl import Crawl

    return Crawl(request).candidates()


SOURCE = Source(
    "site",
    "the pictures that a web site shows: --queries names its address for each class",
    candidates,
    licenses=(),
    of_addresses=True,
)
