"""Bing's picture search, through icrawler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from greenr_luigi.sources.results import Answer, Result, each, require_html
from greenr_luigi.sources.source import Candidate, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.bing import BingFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("bing", request, BingFeeder, results)


def results(response: Answer) -> list[Result]:
    """icrawler's parser takes only addresses that end in .jpg, and drops the page that the picture stands on."""
    from lxml import etree

    parser = etree.HTMLParser(encoding="utf-8", target=Tiles())
    try:
        parser.feed(response.content or b"<html/>")
        found = each(parser.close(), result)
    except etree.LxmlError as error:
        raise ValueError(str(error)) from None
    if not found:
        require_html(response)
    return found


class Tiles:
    """Gets a page's elements one by one, and gives what Bing says of each picture: in the attribute `m` of a link
    within an element of the class `imgpt`. In a tree, a hostile page makes a search of elements within others slow."""

    def __init__(self) -> None:
        #: For each element that is open, whether it is one of the class or lies within one.
        self.within = [False]
        self.found: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "a" and "m" in attributes and self.within[-1]:
            self.found.append(attributes["m"])
        self.within.append(self.within[-1] or "imgpt" in attributes.get("class", "").split())

    def end(self, tag: str) -> None:
        self.within.pop()

    def close(self) -> list[str]:
        return self.found


def result(about: str) -> Result | None:
    tile = json.loads(about)
    return {"file_url": tile["murl"], "page_url": tile.get("purl")} if "murl" in tile else None


SOURCE = Source("bing", "Bing's picture search", candidates)
