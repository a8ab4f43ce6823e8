"""What sites let programs ask for, by robots.txt (RFC 9309): for a crawler that finds its own way through a site."""

from __future__ import annotations

import urllib.parse

from protego import Protego

from greenr_luigi import about
from greenr_luigi.sources.download import Session
from greenr_luigi.sources.source import Unavailable

#: Bytes of a robots.txt; at least 500 KiB are to be read.
MAX_BYTES = 2**20
#: Sites whose rules are known at a time.
SITES = 256


class Robots:
    """The rules of each site that is asked about, fetched when the first of its addresses is."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The rules, or why there are none that allow anything.
        self._sites: dict[str, Protego | str] = {}

    def refuses(self, url: str) -> str | None:
        """Why an address may not be asked for, in words for a person; None if it may."""
        rules = self._rules(url)
        if isinstance(rules, str):
            return rules
        return None if rules.can_fetch(url, about.NAME) else f"{_site(url)}/robots.txt says not to ask for it"

    def delay(self, url: str) -> float:
        """Seconds that the site of an address wants between two requests; 0 if it does not say."""
        rules = self._rules(url)
        return 0.0 if isinstance(rules, str) else rules.crawl_delay(about.NAME) or 0.0

    def _rules(self, url: str) -> Protego | str:
        site = _site(url)
        if site not in self._sites:
            while len(self._sites) >= SITES:
                self._sites.pop(next(iter(self._sites)))
            self._sites[site] = self._fetched(f"{site}/robots.txt")
        return self._sites[site]

    def _fetched(self, url: str) -> Protego | str:
        """A site without a robots.txt allows everything; one of which it cannot be told, nothing."""
        try:
            text = self._session.get(url, MAX_BYTES).content.decode("utf-8-sig", "replace")
        except Unavailable as why:
            if not why.reason.startswith("http-4") or why.reason == "http-429":
                return f"{url} cannot be had, so that nothing there may be asked for: {why}"
            text = ""
        return Protego.parse(text)


def _site(url: str) -> str:
    """Raises ValueError for what is no address."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
