"""Google's picture search, through icrawler."""

from __future__ import annotations

import re
from collections.abc import Iterator

from greenr_luigi.sources.licenses import RIGHTS
from greenr_luigi.sources.results import Answer, Result
from greenr_luigi.sources.source import Candidate, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.google import GoogleFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("google", request, GoogleFeeder, results)


def results(response: Answer) -> list[Result]:
    """icrawler's parser gives None where it finds no addresses, and raw text around some of those that it finds."""
    from icrawler.builtin.google import GoogleParser

    # Its pattern goes from each "http" to the next bracket, however far: minutes for 60 KB without one.
    page = Answer(re.sub(rb"[^\[]{1024}", rb"\g<0>[", response.content))
    urls = [task["file_url"] for task in GoogleParser(1, None, None).parse(page) or ()]
    return [{"file_url": url} for url in urls if not set(url) & set("\"'<>\\ ") and "gstatic.com/" not in url]


SOURCE = Source(
    "google",
    "Google's picture search, which seldom answers programs",
    candidates,
    licenses=set(RIGHTS) - {"publicdomain"},
)
