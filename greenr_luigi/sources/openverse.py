"""Openverse, which searches Flickr's free pictures, Wikimedia Commons, museums and more."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from greenr_luigi.sources import pace
from greenr_luigi.sources.results import Answer, Result, each
from greenr_luigi.sources.source import Candidate, Request, Source

API = "https://api.openverse.org/v1/images/"
#: Without a registered key Openverse shows 20 results a page and refuses pages behind the twelfth.
PAGE, PAGES = 20, 12
#: And it refuses more requests than these in a minute (and a second, for the way there), and 200 in a day.
A_MINUTE, MINUTE = 20, 61.0
#: When it was asked last; below the data root.
ASKED = "openverse.json"
#: What to ask for, by licenses.RIGHTS; all that is there may be used non-commercially.
KINDS = {
    "commercial": {"license_type": "commercial"},
    "noncommercial,modify": {"license_type": "modification"},
    "commercial,modify": {"license_type": "commercial,modification"},
    "publicdomain": {"license": "cc0,pdm"},
}


def candidates(request: Request) -> Iterator[Candidate]:
    from greenr_luigi.sources import download, paging

    kind = KINDS.get(request.license or "", {})
    asked = {"q": request.query, "page_size": PAGE, "mature": "false", **kind}
    pages = (f"{API}?{urllib.parse.urlencode({**asked, 'page': page + 1})}" for page in range(PAGES))
    return paging.candidates(
        "openverse", download.session(request), _paced(pages, request.root / ASKED), results
    )


def _paced(pages: Iterable[str], asked: Path) -> Iterator[str]:
    for page in pages:
        pace.keep(asked, A_MINUTE, MINUTE)
        yield page


def results(response: Answer) -> list[Result]:
    return each(response.json()["results"], result)


def result(one: Any) -> Result:
    return {
        "file_url": one["url"],
        "page_url": one.get("foreign_landing_url"),
        "author": one.get("creator"),
        "license": f"{license_name(one['license'])} {one.get('license_version') or ''}".strip(),
    }


def license_name(code: str) -> str:
    return {"cc0": "CC0", "pdm": "Public Domain Mark"}.get(code, f"CC {code.upper()}")


SOURCE = Source("openverse", "freely licensed pictures from many places", candidates)
