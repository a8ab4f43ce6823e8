"""Bing's picture search, through icrawler."""

from __future__ import annotations

import json
from collections.abc import Iterator

from greenr_luigi.sources.results import Answer, Result, each
from greenr_luigi.sources.source import Candidate, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.bing import BingFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("bing", request, BingFeeder, results)


def results(response: Answer) -> list[Result]:
    """icrawler's parser takes only addresses that end in .jpg, and drops the page that the picture stands on."""
    from bs4 import BeautifulSoup

    links = BeautifulSoup(response.content.decode("utf-8", "ignore"), "lxml").select(".imgpt a[m]")
    return each((str(link["m"]) for link in links), result)


def result(about: str) -> Result | None:
    tile = json.loads(about)
    return {"file_url": tile["murl"], "page_url": tile.get("purl")} if "murl" in tile else None


SOURCE = Source("bing", "Bing's picture search", candidates)
