"""Picture search engines, through icrawler's feeders and parsers.

icrawler's feeder knows an engine's addresses and filters, its parser what a result page means. Its threads
are not used: an exception in one ends it silently while the crawl reports success, and they stop after
`max_num` tries and not at so many good pictures (hellock/icrawler#133, #117, #126). Here a page is fetched
when the results of those before it are used up, and what goes wrong is raised.
"""

from __future__ import annotations

import html
import queue
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from icrawler.utils import Signal

from greenr_luigi.sources import download, paging
from greenr_luigi.sources.results import MOST, Answer, Result, excerpt
from greenr_luigi.sources.source import Candidate, Interrupted, Request

#: These engines give programs they do not know another page, or none. For their pages of results alone.
BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)


TITLE = re.compile(rb"<title[^<>]{,200}>([^<]{1,500})", re.IGNORECASE)


def search(
    name: str, request: Request, feeder: Any, read: paging.Reader, agent: str | None = None, **options: Any
) -> Iterator[Candidate]:
    """The results of the engine `name`. `feeder`: icrawler's class that makes its addresses of `options`; `read`: what
    a page of results says; `agent`: as whom its pages are asked for, if not as ourselves. Raises Interrupted."""
    fed = feeder(1, Signal(), None)
    # The feeder's own queue holds five addresses and then waits for a parser thread.
    fed.out_queue = addresses = queue.SimpleQueue[str]()
    fed.feed(**options)
    pages = (addresses.get() for _ in range(addresses.qsize()))
    yield from paging.candidates(name, download.session(request), pages, read, agent)


def search_keyword(name: str, request: Request, feeder: Any, read: paging.Reader) -> Iterator[Candidate]:
    """`search` in an engine whose feeder takes a keyword and filters."""
    options: dict[str, Any] = {"offset": 0, "max_num": MOST}
    if request.license:
        options["filters"] = {"license": request.license}
    # Google's feeder quotes the keyword; the others paste it into an address as it is.
    keyword = request.query if name == "google" else urllib.parse.quote(request.query, safe="")

    def checked(answer: Answer) -> list[Result]:
        found = read(answer)
        if not found and (title := other_title(answer, request.query)):
            raise Interrupted(f"{name} shows another page than its results: it is titled {title!r}")
        return found

    return search(name, request, feeder, checked, BROWSER, keyword=keyword, **options)


def other_title(answer: Answer, query: str) -> str | None:
    """The title of a page in place of results, such as one to log in, to consent, or to prove to be human. Pages of
    results have words of the query in theirs, or none."""
    match = TITLE.search(answer.content)
    title = excerpt(" ".join(html.unescape(match[1].decode("utf-8", "replace")).split())) if match else ""
    return None if any(word in title.casefold() for word in query.casefold().split()) else title or None
