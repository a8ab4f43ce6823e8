"""Baidu's picture search, through icrawler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources.results import Answer, Result, each, excerpt
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.baidu import BaiduFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("baidu", request, BaiduFeeder, results)


def results(response: Answer) -> list[Result]:
    from icrawler.builtin.baidu import BaiduParser

    content = json.loads(response.content.decode("utf-8-sig", "ignore").replace("\\'", "'"), strict=False)
    if "data" not in content:
        raise Interrupted(f"Baidu refuses to search: {excerpt(content.get('message') or content)}")
    decode = BaiduParser(1, None, None)._decode_url

    def result(item: Any) -> Result | None:
        url = decode(item["objURL"]) if item.get("objURL") else item.get("hoverURL")
        page = item.get("fromURL")
        return {"file_url": url, "page_url": decode(page) if isinstance(page, str) else None} if url else None

    return each(content["data"], result)


SOURCE = Source("baidu", "Baidu's picture search", candidates, licenses=())
