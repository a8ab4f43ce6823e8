"""Wikimedia Commons; all that is there may be used commercially and changed."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources import licenses
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source

API = "https://commons.wikimedia.org/w/api.php"
PAGE, MOST = 50, 1000
#: Originals are often above what a picture may have here; more pixels than this no model looks at.
WIDTH = 1024
FREE = ("CC0", "Public domain", "PD")


def candidates(request: Request) -> Iterator[Candidate]:
    from greenr_luigi.sources import download, paging

    free_only = licenses.check("commons", request.license) == "publicdomain"
    asked = {
        "action": "query",
        "format": "json",
        "generator": "search",
        "gsrnamespace": 6,
        "gsrlimit": PAGE,
        "gsrsearch": f"filetype:bitmap {request.query}",
        "prop": "imageinfo",
        "iiprop": "url|extmetadata",
        "iiextmetadatafilter": "LicenseShortName",
        "iiurlwidth": WIDTH,
    }

    def read(response: Any) -> list[dict[str, str]]:
        return [one for one in results(response) if not free_only or one["license"].startswith(FREE)]

    pages = (
        f"{API}?{urllib.parse.urlencode({**asked, 'gsroffset': offset})}" for offset in range(0, MOST, PAGE)
    )
    yield from paging.candidates("commons", request.query, download.session(), pages, read)


def results(response: Any) -> list[dict[str, str]]:
    answer = response.json()
    if "error" in answer:
        raise Interrupted(f"Wikimedia Commons refuses to search: {answer['error'].get('info')}")
    found = []
    for one in sorted(
        answer.get("query", {"pages": {}})["pages"].values(), key=lambda one: int(one["index"])
    ):
        info = one["imageinfo"][0]
        found.append(
            {
                "file_url": info.get("thumburl") or info["url"],
                "page_url": info.get("descriptionurl", ""),
                "license": info.get("extmetadata", {}).get("LicenseShortName", {}).get("value", ""),
            }
        )
    return found


SOURCE = Source("commons", "Wikimedia Commons", candidates)
