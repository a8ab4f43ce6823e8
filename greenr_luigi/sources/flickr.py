"""Flickr's search, through icrawler."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources.licenses import allows
from greenr_luigi.sources.results import Answer, Result, each, excerpt
from greenr_luigi.sources.source import Candidate, Interrupted, Request, Source, SourceError

#: https://www.flickr.com/services/api/flickr.photos.licenses.getInfo.html
LICENSES = {
    "0": "All Rights Reserved", "1": "CC BY-NC-SA 2.0", "2": "CC BY-NC 2.0",
    "3": "CC BY-NC-ND 2.0", "4": "CC BY 2.0", "5": "CC BY-SA 2.0",
    "6": "CC BY-ND 2.0", "7": "No known copyright restrictions", "8": "United States government work",
    "9": "CC0 1.0", "10": "Public Domain Mark 1.0", "11": "CC BY 4.0",
    "12": "CC BY-SA 4.0", "13": "CC BY-ND 4.0", "14": "CC BY-NC 4.0",
    "15": "CC BY-NC-SA 4.0", "16": "CC BY-NC-ND 4.0",
}  # fmt: skip
#: The sizes to take, the best first.
SIZES = ("url_l", "url_c", "url_z", "url_o")


def candidates(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin.flickr import FlickrFeeder

    from greenr_luigi.sources import search_engine

    key = os.environ.get("FLICKR_APIKEY")
    if not key:
        raise SourceError(
            "the source 'flickr' needs a key: ask for one at https://www.flickr.com/services/apps/create "
            "and set the environment variable FLICKR_APIKEY"
        )
    options: dict[str, Any] = {"apikey": key, "text": request.query, "sort": "relevance", "per_page": 100}
    # With the addresses among the extras, no further request a picture is needed, as icrawler's parser makes.
    options |= {"content_type": 1, "extras": ",".join(["license", "owner_name", *SIZES])}
    if request.license:
        options["license"] = ",".join(license_numbers(request.license))
    return search_engine.search("flickr", request, FlickrFeeder, results, **options)


def license_numbers(kind: str) -> list[str]:
    """Flickr's numbers of the licences of a kind."""
    return [number for number, name in LICENSES.items() if allows(name, kind)]


def results(response: Answer) -> list[Result]:
    content = response.json()
    if content["stat"] != "ok":
        raise Interrupted(f"Flickr refuses to search: {excerpt(content.get('message'))}")
    return each(content["photos"]["photo"], result)


def result(photo: Any) -> Result | None:
    url = next((photo[size] for size in SIZES if photo.get(size)), None)
    return url and {
        "file_url": url,
        "page_url": f"https://www.flickr.com/photos/{photo['owner']}/{photo['id']}",
        "license": LICENSES.get(str(photo.get("license"))),
        "author": photo.get("ownername"),
    }


SOURCE = Source("flickr", "Flickr's search; needs a key in FLICKR_APIKEY", candidates)
