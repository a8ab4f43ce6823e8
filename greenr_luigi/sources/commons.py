"""Freely licensed pictures, from those who offer a search for programs: Openverse and Wikimedia Commons."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources import download, licenses, paging
from greenr_luigi.sources.candidates import Candidate, Interrupted, Request

OPENVERSE = "https://api.openverse.org/v1/images/"
COMMONS = "https://commons.wikimedia.org/w/api.php"
#: Without a registered key Openverse shows 20 results a page and refuses pages behind the twelfth.
OPENVERSE_PAGE, OPENVERSE_PAGES = 20, 12
COMMONS_PAGE, COMMONS_MOST = 50, 1000
#: Originals on Commons are often above what a picture may have here; more pixels than this no model looks at.
COMMONS_WIDTH = 1024
#: Openverse's license_type, by licenses.KINDS.
OPENVERSE_KINDS = {
    "noncommercial": {},
    "commercial": {"license_type": "commercial"},
    "noncommercial,modify": {"license_type": "modification"},
    "commercial,modify": {"license_type": "commercial,modification"},
    "publicdomain": {"license": "cc0,pdm"},
}


def openverse(request: Request) -> Iterator[Candidate]:
    """https://api.openverse.org/v1/, which searches Flickr's free pictures, Commons, museums and more."""
    kind = OPENVERSE_KINDS[licenses.check(request.license) or "noncommercial"]

    def page(number: int) -> str:
        asked = {"q": request.query, "page": number, "page_size": OPENVERSE_PAGE, "mature": "false", **kind}
        return f"{OPENVERSE}?{urllib.parse.urlencode(asked)}"

    pages = map(page, range(1, OPENVERSE_PAGES + 1))
    yield from paging.candidates("openverse", request.query, download.session(), pages, _openverse_results)


def commons(request: Request) -> Iterator[Candidate]:
    """https://commons.wikimedia.org/w/api.php; all that is there may be used commercially and changed."""
    free = licenses.check(request.license) == "publicdomain"

    def page(offset: int) -> str:
        asked = {
            "action": "query", "format": "json", "generator": "search", "gsrnamespace": 6, "gsrlimit": COMMONS_PAGE,
            "gsroffset": offset, "gsrsearch": f"filetype:bitmap {request.query}", "prop": "imageinfo",
            "iiprop": "url|extmetadata", "iiextmetadatafilter": "LicenseShortName", "iiurlwidth": COMMONS_WIDTH,
        }  # fmt: skip
        return f"{COMMONS}?{urllib.parse.urlencode(asked)}"

    def read(response: Any) -> list[paging.Result]:
        found = _commons_results(response)
        return [one for one in found if not free or one["license"].startswith(("CC0", "Public domain", "PD"))]

    pages = map(page, range(0, COMMONS_MOST, COMMONS_PAGE))
    yield from paging.candidates("commons", request.query, download.session(), pages, read)


def _openverse_results(response: Any) -> list[paging.Result]:
    return [
        {
            "file_url": one["url"],
            "page_url": one.get("foreign_landing_url") or "",
            "license": _openverse_license(one["license"], one.get("license_version") or ""),
        }
        for one in response.json()["results"]
    ]


def _openverse_license(code: str, version: str) -> str:
    names = {"cc0": "CC0", "pdm": "Public Domain Mark"}
    return f"{names.get(code, 'CC ' + code.upper())} {version}".strip()


def _commons_results(response: Any) -> list[paging.Result]:
    answer = response.json()
    if "error" in answer:
        raise Interrupted(f"Wikimedia Commons refuses to search: {answer['error'].get('info')}")
    found = answer.get("query", {"pages": {}})["pages"].values()
    results = []
    for one in sorted(found, key=lambda one: int(one["index"])):
        info = one["imageinfo"][0]
        license = info.get("extmetadata", {}).get("LicenseShortName", {}).get("value", "")
        url = info.get("thumburl") or info["url"]
        results.append({"file_url": url, "page_url": info.get("descriptionurl", ""), "license": license})
    return results
