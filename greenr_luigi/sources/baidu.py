"""Baidu's picture search, through icrawler."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources import licenses
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.baidu import BaiduFeeder

    from greenr_luigi.sources import search_engine

    licenses.check("baidu", request.license, ())
    # The feeder pastes the keyword into an address as it is.
    keyword = urllib.parse.quote(request.query, safe="")
    yield from search_engine.search(
        "baidu", request.query, BaiduFeeder, results, keyword=keyword, **search_engine.ALL
    )


def results(response: Any) -> list[dict[str, str]]:
    from icrawler.builtin.baidu import BaiduParser

    content = json.loads(response.content.decode("utf-8", "ignore").replace("\\'", "'"), strict=False)
    if "data" not in content:
        raise Interrupted(f"Baidu refuses to search: {content.get('message') or content}")
    decoded = BaiduParser(1, None, None)._decode_url
    found = []
    for item in content["data"]:
        if url := decoded(item["objURL"]) if item.get("objURL") else item.get("hoverURL"):
            page = decoded(item["fromURL"]) if item.get("fromURL") else ""
            found.append({"file_url": url, "page_url": page})
    return found


SOURCE = Source("baidu", "Baidu's picture search", candidates)
