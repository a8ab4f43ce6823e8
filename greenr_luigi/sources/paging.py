"""Reading the result pages of a search, one by one as candidates are used up."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import requests

from greenr_luigi.sources import download
from greenr_luigi.sources.source import Candidate, Interrupted

#: A result: `file_url`, and where known `page_url` and `license`.
Result = dict[str, str]
#: What a page says; raises any of UNEXPECTED if it is no such page.
Reader = Callable[[Any], list[Result]]

#: What reading a page in another format than expected raises, in our code and in icrawler's.
UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def candidates(
    name: str, session: requests.Session, pages: Iterable[str], read: Reader
) -> Iterator[Candidate]:
    """The results of page after page, each address once, until two pages in a row bring nothing new.

    Raises Interrupted when a page cannot be had or read.
    """
    seen: set[str] = set()
    fruitless = 0
    for page in pages:
        fruitless += 1
        for result in _results(name, session, page, read):
            url = result["file_url"]
            if url not in seen:
                seen.add(url)
                fruitless = 0
                load = functools.partial(download.fetch, session, url)
                yield Candidate(load, url, result.get("page_url") or None, result.get("license") or None)
        if fruitless == 2:
            return


def _results(name: str, session: requests.Session, url: str, read: Reader) -> list[Result]:
    host = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    try:
        response = session.get(url, timeout=download.TIMEOUT, headers={"Referer": host})
    except requests.RequestException as error:
        raise Interrupted(f"{host} did not answer: {download.plain(error)}") from None
    if response.status_code != 200:
        raise Interrupted(f"{host} answered {response.status_code} {response.reason}")
    try:
        return read(response)
    except UNEXPECTED as error:
        words = download.plain(error)
        raise Interrupted(f"a result page of {name} is in another format than expected ({words})") from None
