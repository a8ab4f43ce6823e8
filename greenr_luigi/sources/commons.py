"""Wikimedia Commons; all that is there may be used commercially and changed."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources.licenses import allows
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source

API = "https://commons.wikimedia.org/w/api.php"
PAGE, MOST = 50, 1000
#: Originals are often above what a picture may have here; more pixels than this no model looks at.
WIDTH = 1024
QUESTION = {
    "action": "query", "format": "json", "generator": "search", "gsrnamespace": 6, "gsrlimit": PAGE,
    "prop": "imageinfo", "iiprop": "url|extmetadata", "iiextmetadatafilter": "LicenseShortName", "iiurlwidth": WIDTH,
}  # fmt: skip


def candidates(request: Request) -> Iterator[Candidate]:
    from greenr_luigi.sources import download, paging

    asked = QUESTION | {"gsrsearch": f"filetype:bitmap {request.query}"}

    def read(response: Any) -> list[dict[str, str]]:
        only_public = request.license == "publicdomain"
        return [one for one in results(response) if not only_public or allows(one["license"], "publicdomain")]

    offsets = range(0, MOST, PAGE)
    pages = (f"{API}?{urllib.parse.urlencode(asked | {'gsroffset': offset})}" for offset in offsets)
    return paging.candidates("commons", download.session(), pages, read)


def results(response: Any) -> list[dict[str, str]]:
    answer = response.json()
    if "error" in answer:
        raise Interrupted(f"Wikimedia Commons refuses to search: {answer['error'].get('info')}")
    pages = answer.get("query", {"pages": {}})["pages"].values()
    return [
        {
            "file_url": info.get("thumburl") or info["url"],
            "page_url": info.get("descriptionurl", ""),
            "license": info.get("extmetadata", {}).get("LicenseShortName", {}).get("value", ""),
        }
        for page in sorted(pages, key=lambda page: int(page["index"]))
        for info in page["imageinfo"][:1]
    ]


SOURCE = Source("commons", "Wikimedia Commons", candidates)
