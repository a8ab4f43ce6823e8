"""Picture search engines, through icrawler's feeders, parsers and session.

icrawler's feeder knows an engine's addresses and filters, its parser what a result page means. Its threads
are not used: an exception in one ends it silently while the crawl reports success, and they stop after
`max_num` tries and not at so many good pictures (hellock/icrawler#133, #117, #126). Here a page is fetched
when the results of those before it are used up, and what goes wrong is raised.
"""

from __future__ import annotations

import json
import os
import queue
import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources import download, licenses, paging
from greenr_luigi.sources.candidates import Candidate, Interrupted, Request, SourceError

#: No engine shows more results than these.
ALL = {"offset": 0, "max_num": 1000}

#: The engines give programs they do not know another page, or none.
BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)


def bing(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin import bing as engine

    filters = licenses.bing(request.license)
    # The feeder pastes the keyword into an address as it is.
    keyword = urllib.parse.quote(request.query, safe="")
    yield from _search(
        "bing", engine.BingFeeder, _bing_results, request, keyword=keyword, filters=filters, **ALL
    )


def google(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin import google as engine

    def results(response: Any) -> list[paging.Result]:
        # The parser gives None where it finds no addresses, and raw text around some of those it finds.
        parser = engine.GoogleParser(1, None, None)
        found = [task["file_url"] for task in parser.parse(response) or ()]
        return [
            {"file_url": url} for url in found if not set(url) & set("\"'<>\\ ") and "gstatic.com/" not in url
        ]

    filters = licenses.google(request.license)
    yield from _search(
        "google", engine.GoogleFeeder, results, request, keyword=request.query, filters=filters, **ALL
    )


def baidu(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin import baidu as engine

    def results(response: Any) -> list[paging.Result]:
        content = json.loads(response.content.decode("utf-8", "ignore").replace("\\'", "'"), strict=False)
        if "data" not in content:
            raise Interrupted(f"Baidu refuses to search: {content.get('message') or content}")
        parser = engine.BaiduParser(1, None, None)
        found = []
        for item in content["data"]:
            url = parser._decode_url(item["objURL"]) if item.get("objURL") else item.get("hoverURL")
            if url:
                page = parser._decode_url(item["fromURL"]) if item.get("fromURL") else ""
                found.append({"file_url": url, "page_url": page})
        return found

    licenses.none("baidu", request.license)
    keyword = urllib.parse.quote(request.query, safe="")
    yield from _search("baidu", engine.BaiduFeeder, results, request, keyword=keyword, **ALL)


def flickr(request: Request) -> Iterator[Candidate]:
    from icrawler.builtin import flickr as engine

    key = os.environ.get("FLICKR_APIKEY")
    if not key:
        raise SourceError(
            "the source 'flickr' needs a key: ask for one at https://www.flickr.com/services/apps/create "
            "and set the environment variable FLICKR_APIKEY"
        )
    # With the addresses among the extras, no further request a picture is needed, as icrawler's parser makes.
    options = {"text": request.query, "sort": "relevance", "per_page": 100, "content_type": 1,
               "extras": "license,url_l,url_c,url_z,url_o"}  # fmt: skip
    if request.license:
        options["license"] = licenses.flickr(request.license)
    yield from _search("flickr", engine.FlickrFeeder, _flickr_results, request, apikey=key, **options)


def _search(
    name: str, feeder_class: Any, read: paging.Reader, request: Request, **options: Any
) -> Iterator[Candidate]:
    from icrawler.utils import ProxyPool, Session, Signal

    session = Session(ProxyPool())
    download.equip(session, BROWSER)
    feeder = feeder_class(1, Signal(), session)
    # The feeder's own queue holds five addresses and then waits for a parser thread.
    pages: queue.SimpleQueue[str] = queue.SimpleQueue()
    feeder.out_queue = pages
    feeder.feed(**options)
    addresses = (pages.get() for _ in range(pages.qsize()))
    yield from paging.candidates(name, request.query, session, addresses, read)


def _bing_results(response: Any) -> list[paging.Result]:
    """icrawler's parser takes only addresses that end in .jpg, and drops the page that the picture stands
    on."""
    from bs4 import BeautifulSoup

    found = []
    for link in BeautifulSoup(response.content.decode("utf-8", "ignore"), "lxml").select(".imgpt a[m]"):
        about = json.loads(str(link["m"]))
        if about.get("murl"):
            found.append({"file_url": about["murl"], "page_url": about.get("purl", "")})
    return found


def _flickr_results(response: Any) -> list[paging.Result]:
    content = json.loads(response.content)
    if content["stat"] != "ok":
        raise Interrupted(f"Flickr refuses to search: {content.get('message')}")
    found = []
    for photo in content["photos"]["photo"]:
        url = next((photo[size] for size in ("url_l", "url_c", "url_z", "url_o") if photo.get(size)), None)
        if url:
            page = f"https://www.flickr.com/photos/{photo['owner']}/{photo['id']}"
            found.append(
                {
                    "file_url": url,
                    "page_url": page,
                    "license": licenses.flickr_name(str(photo.get("license", ""))),
                }
            )
    return found
