"""Walking through a web site for its pictures: breadth first, by its rules for programs, and within bounds."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from http import HTTPStatus

import aiohttp
from yarl import URL

from greenr_luigi.guarded_http import Unfetched
from greenr_luigi.sources import download, hosts, opt_outs, web_page
from greenr_luigi.sources.pace import Places
from greenr_luigi.sources.results import excerpt
from greenr_luigi.sources.robots import Robots
from greenr_luigi.sources.source import PASSING, Candidate, Interrupted, Request, SourceError, Unavailable
from greenr_luigi.sources.web_page import WebPage

#: Of one crawl: pages, bytes of pages, seconds spent with pages, and addresses of pictures, and of pages.
MOST_PAGES, MOST_BYTES, MOST_SECONDS, MOST_PICTURES, MOST_KNOWN = 1000, 256 * 2**20, 900.0, 10_000, 10_000
#: Pages in a row that could not be had for now, after which the site is left.
MOST_FAILURES = 8
#: Seconds between two requests that a site may want in its robots.txt.
MOST_DELAY = 60.0


class Crawl:
    """The site at `request.query`: the pages of its host at that path and below, and the pictures that they show,
    wherever these lie."""

    def __init__(self, request: Request) -> None:
        self.request = request
        try:
            self.start = URL(request.query).with_fragment(None)
        except ValueError as error:
            raise SourceError(f"{request.query!r} is no address of a site: {error}") from None
        folder, _, last = self.start.path.rpartition("/")
        self.below = f"{folder}/" if not last or web_page.SUFFIX.search(last) else f"{self.start.path}/"
        session = download.session(request)
        self.robots = Robots(session)
        self.session = replace(session, leads_to=self._wait_for)
        self._lock = threading.Lock()
        #: Of hosts whose robots.txt says how seldom to ask: by all crawls of the data root together.
        self._places = Places(1, 0, request.root / hosts.SHARED)

    def candidates(self) -> Iterator[Candidate]:
        """What the pages show, page by page. Raises Interrupted where the site cannot be had, or shows nothing."""
        waiting, known = deque([self.start]), {self.start}
        shown = set[URL]()
        pages = size = failures = 0
        seconds, title = 0.0, ""
        while waiting:
            if (
                pages == MOST_PAGES
                or size > MOST_BYTES
                or seconds > MOST_SECONDS
                or len(shown) > MOST_PICTURES
            ):
                self.request.tell(f"left {self.start.host} after {pages} pages, with more to see")
                break
            address, began = waiting.popleft(), time.monotonic()
            pages += 1
            try:
                page, got = self._page(address)
            except Unavailable as why:
                failures += PASSING.fullmatch(why.reason) is not None
                if address == self.start or failures == MOST_FAILURES:
                    raise Interrupted(f"{excerpt(address)}: {why}") from None
                continue
            finally:
                seconds += time.monotonic() - began
            size, failures, title = size + got, 0, title or page.title
            kept = self._kept_from_models(page)
            for picture in page.pictures:
                if picture not in shown:
                    shown.add(picture)
                    yield Candidate(
                        functools.partial(self._load, picture, kept), str(picture), str(page.address)
                    )
            for link in () if opt_outs.said_in(page.robots, (), {"nofollow", "none"}) else page.links:
                if link not in known and len(known) < MOST_KNOWN and self._is_of_site(link):
                    known.add(link)
                    waiting.append(link)
        if not shown:
            raise Interrupted(
                f"no page of {excerpt(self.start)} shows a picture; {pages} were read, the first titled {title!r}"
            )

    def _page(self, address: URL) -> tuple[WebPage, int]:
        """A page, and its bytes. Raises Unavailable for one that there is not, or that we may not read."""
        self._wait_for(address)
        came, tags, reservations = address, list[str](), list[str]()

        def permits(response: aiohttp.ClientResponse) -> None:
            nonlocal came
            head, came = response.headers, response.url
            tags.extend(head.getall("X-Robots-Tag", []))
            reservations.extend(head.getall("tdm-reservation", []))
            if response.status != HTTPStatus.OK:
                return  # It leads on.
            if not self._is_of_site(came):
                raise Unfetched(
                    "elsewhere", f"it leads to {came}: if this is what is meant, name that address"
                )
            if "Content-Type" in head and response.content_type not in ("text/html", "application/xhtml+xml"):
                raise Unfetched("no-page", f"it is {response.content_type}, and no page")

        content = self.session.page(f"{address}", permits).content
        try:
            page = web_page.read(content, came)
        except ValueError as error:
            raise Unavailable("no-page", f"it is no page of HTML ({error})") from None
        page.robots += tags
        page.reservations += reservations
        return page, len(content)

    def _is_of_site(self, address: URL) -> bool:
        ours, theirs = ((one.host or "").removeprefix("www.") for one in (self.start, address))
        below = address.path == self.start.path or address.path.startswith(self.below)
        # From http to https is the same site.
        same_port = address.explicit_port == self.start.explicit_port
        return ours == theirs and same_port and below

    def _kept_from_models(self, page: WebPage) -> str | None:
        return opt_outs.said_in(page.robots, page.reservations) if self.request.opt_outs else None

    def _load(self, picture: URL, kept: str | None) -> Future[bytes]:
        """Raises Unavailable."""
        if kept:
            raise Unavailable("opt-out", f"its page keeps it from models: {kept}")
        self._wait_for(picture)
        return download.begin(self.session, f"{picture}")

    def _wait_for(self, address: URL) -> None:
        """Until it may be asked for. Raises Unavailable if it may not."""
        if refused := self.robots.refuses(f"{address}"):
            raise refused
        if (delay := self.robots.delay(f"{address}")) > MOST_DELAY:
            raise Unavailable("robots", f"{address.host} wants {delay:g} seconds between two requests")
        while delay > 0 and (wait := self._turn(f"crawl {hosts.name_of(address)}", delay)):
            time.sleep(wait)

    def _turn(self, name: str, delay: float) -> float:
        """0 if it is, else the seconds after which to ask again."""
        with self._lock:
            place = self._places.take(name, delay)
            if isinstance(place, float):
                return place
            self._places.leave(place)
            return 0.0
