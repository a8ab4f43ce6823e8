"""Wikimedia Commons; all that is there may be used commercially and changed."""

from __future__ import annotations

import html
import math
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources.licenses import allows
from greenr_luigi.sources.results import UNEXPECTED, Answer, Result, at, each, excerpt
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source

API = "https://commons.wikimedia.org/w/api.php"
PAGE, MOST = 50, 1000
#: Characters of the HTML that names an author, in which some write at length.
MOST_MARKUP = 4096
#: Originals are often above what a picture may have here; more pixels than this no model looks at.
WIDTH = 1024
QUESTION = {
    "action": "query", "format": "json", "generator": "search", "gsrnamespace": 6, "gsrlimit": PAGE,
    "prop": "imageinfo", "iiprop": "url|extmetadata", "iiurlwidth": WIDTH,
    "iiextmetadatafilter": "LicenseShortName|Artist",
}  # fmt: skip


def candidates(request: Request) -> Iterator[Candidate]:
    from greenr_luigi.sources import download, paging

    asked = QUESTION | {"gsrsearch": f"filetype:bitmap {request.query}"}

    def read(response: Answer) -> list[Result]:
        only_public = request.license == "publicdomain"
        found = results(response)
        return [one for one in found if not only_public or allows(str(one.get("license")), "publicdomain")]

    offsets = range(0, MOST, PAGE)
    pages = (f"{API}?{urllib.parse.urlencode(asked | {'gsroffset': offset})}" for offset in offsets)
    return paging.candidates("commons", download.session(request), pages, read)


def results(response: Answer) -> list[Result]:
    answer = response.json()
    if "error" in answer:
        raise Interrupted(
            f"Wikimedia Commons refuses to search: {excerpt(at(answer, 'error', 'info') or answer['error'])}"
        )
    # Where nothing is found, it says no more than that this is all.
    pages = answer["query"]["pages"].values() if "query" in answer or "batchcomplete" not in answer else ()
    return each(sorted(pages, key=rank), result)


def rank(page: Any) -> float:
    """By how well a page fits; one that does not say stands last."""
    try:
        return float(page["index"])
    except UNEXPECTED:
        return math.inf


def result(page: Any) -> Result:
    info = page["imageinfo"][0]
    return {
        "file_url": info.get("thumburl") or info["url"],
        "page_url": info.get("descriptionurl"),
        "license": at(info, "extmetadata", "LicenseShortName", "value"),
        "author": text(at(info, "extmetadata", "Artist", "value")),
    }


def text(markup: object) -> str | None:
    """What a reader sees of a piece of HTML, in one line; the authors of pages may have written any."""
    if not isinstance(markup, str):
        return None
    words = html.unescape(re.sub(r"<[^<>]*>", " ", markup[:MOST_MARKUP]))
    return " ".join(words.split()) or None


SOURCE = Source("commons", "Wikimedia Commons", candidates)
