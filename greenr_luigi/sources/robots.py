"""What sites let programs ask for, by robots.txt (RFC 9309): for a crawler that finds its own way through a site."""

from __future__ import annotations

import re
import threading
import urllib.parse
from dataclasses import dataclass, field

from protego import Protego

from greenr_luigi import about, lists
from greenr_luigi.sources.download import Session
from greenr_luigi.sources.source import PASSING, Unavailable

#: Bytes of a robots.txt; at least 500 KiB are to be read.
MAX_BYTES = 2**20
#: Sites whose rules are known at a time.
SITES = 256
#: What stands behind the name of a program, as its User-Agent has it: no part of that name, by RFC 9309.
VERSION = re.compile(r"(user-agent[ \t]*:[ \t]*[a-z_-]+)/[^\r\n]*", re.IGNORECASE)


@dataclass
class _Site:
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Or why there are none, so that nothing may be asked for.
    rules: Protego | Unavailable | None = None


class Robots:
    """The rules of each site that is asked about, fetched when the first of its addresses is. For many threads: a site
    that is slow holds up nobody who asks about another."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sites: dict[str, _Site] = {}
        self._lock = threading.Lock()

    def refuses(self, url: str) -> Unavailable | None:
        """Why an address may not be asked for: "robots", or what is wrong with the site, if that may pass. None if it
        may."""
        rules = self._rules(url)
        if isinstance(rules, Unavailable):
            return rules
        if rules.can_fetch(url, about.NAME):
            return None
        return Unavailable("robots", f"{_site(url)}/robots.txt says not to ask for it")

    def delay(self, url: str) -> float:
        """Seconds that the site of an address wants between two requests; 0 if it does not say."""
        rules = self._rules(url)
        return 0.0 if isinstance(rules, Unavailable) else rules.crawl_delay(about.NAME) or 0.0

    def _rules(self, url: str) -> Protego | Unavailable:
        name = _site(url)
        with self._lock:
            if name not in self._sites:
                while len(self._sites) >= SITES:
                    self._sites.pop(next(iter(self._sites)))
                self._sites[name] = _Site()
            site = self._sites[name]
        with site.lock:
            if site.rules is None:
                site.rules = self._fetched(f"{name}/robots.txt")
            return site.rules

    def _fetched(self, url: str) -> Protego | Unavailable:
        """A site without a robots.txt allows everything; one of which it cannot be told, nothing."""
        try:
            content = self._session.get(url, MAX_BYTES).content
        except Unavailable as why:
            if not why.reason.startswith("http-4") or PASSING.fullmatch(why.reason):
                reason = why.reason if PASSING.fullmatch(why.reason) else "robots"
                words = f"{url} cannot be had, so that nothing there may be asked for: {why}"
                return Unavailable(reason, words)
            content = b""
        text = content.decode(lists.encoding(content), "replace")
        return Protego.parse(VERSION.sub(r"\1", text.replace("\ufeff", "")))


def _site(url: str) -> str:
    """Raises ValueError for what is no address."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
