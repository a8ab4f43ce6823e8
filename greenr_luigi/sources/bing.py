"""Bing's picture search, through icrawler."""

from __future__ import annotations

import json
from collections.abc import Iterator

from greenr_luigi.sources.results import Answer, Result, each
from greenr_luigi.sources.source import Candidate, Request, Source

#: From the links upwards: downwards takes minutes where they lie in each other.
TILES = "//a[@m and ancestor::*[contains(concat(' ', normalize-space(@class), ' '), ' imgpt ')]]/@m"


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.bing import BingFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("bing", request, BingFeeder, results)


def results(response: Answer) -> list[Result]:
    """icrawler's parser takes only addresses that end in .jpg, and drops the page that the picture stands on."""
    from lxml import etree

    try:
        page = etree.HTML(response.content or b"<html/>", etree.HTMLParser(encoding="utf-8"))
    except etree.LxmlError as error:
        raise ValueError(str(error)) from None
    return each(map(str, page.xpath(TILES)), result)


def result(about: str) -> Result | None:
    tile = json.loads(about)
    return {"file_url": tile["murl"], "page_url": tile.get("purl")} if "murl" in tile else None


SOURCE = Source("bing", "Bing's picture search", candidates)
