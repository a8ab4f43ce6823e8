"""Baidu's picture search, through icrawler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.baidu import BaiduFeeder

    from greenr_luigi.sources import search_engine

    return search_engine.search_keyword("baidu", request, BaiduFeeder, results)


def results(response: Any) -> list[dict[str, str]]:
    from icrawler.builtin.baidu import BaiduParser

    content = json.loads(response.content.decode("utf-8", "ignore").replace("\\'", "'"), strict=False)
    if "data" not in content:
        raise Interrupted(f"Baidu refuses to search: {content.get('message') or content}")
    decode = BaiduParser(1, None, None)._decode_url
    return [
        {"file_url": url, "page_url": decode(item["fromURL"]) if item.get("fromURL") else ""}
        for item in content["data"]
        if (url := decode(item["objURL"]) if item.get("objURL") else item.get("hoverURL"))
    ]


SOURCE = Source("baidu", "Baidu's picture search", candidates, licenses=())
