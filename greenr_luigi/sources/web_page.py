"""What a page of a web site shows and leads to.

icrawler's GreedyParser is not used: it resolves relative addresses against the top of the site and not against the
page, passes over pictures whose address is relative, and takes any address with the site's name in it for one of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from yarl import URL

from greenr_luigi import about
from greenr_luigi.sources.results import MOST, excerpt

#: Links of a page that are looked at, and characters of an address.
MOST_LINKS, MOST_CHARACTERS = 5000, 2048
PICTURE = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|avif|tiff?|heic|heif)$", re.IGNORECASE)
#: What a page is called that has a suffix. Others are archives, movies, documents.
SUFFIX = re.compile(r"\.([a-z0-9]{2,5})$", re.IGNORECASE)
PAGES = {"html", "htm", "shtml", "xhtml", "php", "asp", "aspx", "jsp", "cgi"}
#: Where pages say what is shown in place of a stand-in, the best first.
SHOWN = ("srcset", "data-srcset", "data-src", "data-original", "data-lazy-src", "src")
NAMES = ("robots", "x-robots-tag", about.NAME.lower())


@dataclass
class WebPage:
    """`pictures` and `links`: absolute addresses, each once, in their order. `robots` and `reservations`: what the page
    says to programs, as the headers X-Robots-Tag and tdm-reservation would."""

    address: URL
    title: str = ""
    pictures: dict[URL, None] = field(default_factory=dict)
    links: dict[URL, None] = field(default_factory=dict)
    robots: list[str] = field(default_factory=list)
    reservations: list[str] = field(default_factory=list)


def read(content: bytes, address: URL) -> WebPage:
    """Raises ValueError for what is no page of HTML."""
    from lxml import etree

    page = WebPage(address)
    parser = etree.HTMLParser(encoding=None, target=Elements(page))
    try:
        parser.feed(content or b"<html/>")
        parser.close()
    except etree.LxmlError as error:
        raise ValueError(excerpt(error)) from None
    page.title = excerpt(" ".join(page.title.split()))
    return page


class Elements:
    """Gets a page's elements one by one, as in `bing`, and notes what is of interest."""

    def __init__(self, page: WebPage) -> None:
        self.page, self.base = page, page.address
        self.in_title = self.in_link_to_picture = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.in_title |= tag == "title" and not self.page.title
        if tag == "base" and self.base is self.page.address:
            self.base = self._absolute(attributes.get("href")) or self.base
        elif tag == "meta":
            name = (attributes.get("name") or attributes.get("http-equiv", "")).strip().lower()
            content = attributes.get("content", "")
            if name in NAMES:
                self.page.robots.append(content)
            elif name == "tdm-reservation":
                self.page.reservations.append(content)
        elif tag in ("a", "area"):
            self._link(tag, attributes)
        elif tag == "img" and not self.in_link_to_picture:
            found = next(filter(None, (self._absolute(best(attributes.get(name))) for name in SHOWN)), None)
            self._picture(found)

    def data(self, text: str) -> None:
        if self.in_title:
            self.page.title = (self.page.title + text)[:MOST_CHARACTERS]

    def end(self, tag: str) -> None:
        self.in_title &= tag != "title"
        self.in_link_to_picture &= tag != "a"

    def close(self) -> WebPage:
        return self.page

    def _link(self, tag: str, attributes: Mapping[str, str]) -> None:
        if (to := self._absolute(attributes.get("href"))) is None:
            return
        if PICTURE.search(to.path):
            # What it shows is the same in small.
            self.in_link_to_picture = tag == "a"
            self._picture(to)
        elif (
            "nofollow" not in attributes.get("rel", "").lower().split() and len(self.page.links) < MOST_LINKS
        ):
            suffix = SUFFIX.search(to.path)
            if suffix is None or suffix[1].lower() in PAGES:
                self.page.links[to] = None

    def _picture(self, address: URL | None) -> None:
        if address is not None and len(self.page.pictures) < MOST:
            self.page.pictures[address] = None

    def _absolute(self, text: str | None) -> URL | None:
        """An address of the web, as the page means it; None for another, or none."""
        # A picture may stand in its own address.
        if not text or len(text) > MOST_CHARACTERS:
            return None
        try:
            found = self.base.join(URL(text.strip())).with_fragment(None)
        except ValueError:
            return None
        return found if found.scheme in ("http", "https") and found.host else None


def best(text: str | None) -> str | None:
    """The largest of a list of addresses with sizes ("a.jpg 640w, b.jpg 1280w"), or the one that there is."""

    def sized() -> Iterator[tuple[float, str]]:
        for part in re.split(r",\s+", (text or "")[: 16 * MOST_CHARACTERS]):
            address, *size = part.strip().rstrip(",").rsplit(maxsplit=1) or [""]
            found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)[wx]", size[0]) if size else None
            yield (float(found[1]) if found else 0, address)

    return max(sized(), key=lambda one: one[0])[1] or None
