"""Fetching pictures, and pages of results, from addresses that others gave: by the rules of `guarded_http`."""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from greenr_luigi import about, guarded_http
from greenr_luigi.guarded_http import Rules
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.sources.results import Answer
from greenr_luigi.sources.source import Unavailable
from greenr_luigi.text import Network

AGENT = about.agent()
#: Bytes of a page of results.
MAX_PAGE_BYTES = 4 * 2**20
#: Seconds for one picture or page altogether: a host that drips bytes must not hold a crawl.
DEADLINE = 30.0
#: What passes: it is asked for again, after so many seconds.
PASSING = ("network", "http-429", "http-502", "http-503", "http-504")
WAITS = (0.3, 0.6)
#: The web's, and those that a person may have chosen; the others belong to services that are no web servers.
PORTS = frozenset({80, 443, *range(1024, 2**16)})


@dataclass(frozen=True)
class Session:
    """As whom to ask, which networks that are not public may be asked, and how long."""

    agent: str = AGENT
    allow: Sequence[Network] = ()
    seconds: float = DEADLINE
    waits: Sequence[float] = WAITS

    def get(self, url: str, most_bytes: int = MAX_PAGE_BYTES, **headers: str) -> Answer:
        """What lies at an address; what passes is tried again. Raises Unavailable: "address", "inside",
        "network", "slow", "too-large", "packed" or "http-<status>"."""
        ends = time.monotonic() + self.seconds
        rules = Rules(
            most_bytes,
            self.seconds,
            {"User-Agent": self.agent, "Accept": "*/*", **headers},
            ports=PORTS,
            allow=self.allow,
            proxy=proxy,
            ssl=trusted(certificates()),
        )
        for wait in (*self.waits, 0):
            try:
                rules = replace(rules, seconds=max(ends - time.monotonic(), 0))
                return Answer(guarded_http.in_thread(_fetch, url, rules).result())
            except guarded_http.Unfetched as error:
                why = error
            except OSError as error:  # No thread, or no more open files.
                why = guarded_http.Unfetched("network", str(error))
            if why.reason not in PASSING:
                break
            time.sleep(wait)
        remedy = (
            ": name your own network in --allow-networks to fetch from it" if why.reason == "inside" else ""
        )
        raise Unavailable(why.reason, f"{why}{remedy}")


def _fetch(url: str, rules: Rules) -> bytes:
    return asyncio.run(guarded_http.fetch(url, rules))


def session(allow: Sequence[Network] = (), agent: str = AGENT) -> Session:
    """A session for `fetch`. Proxies and certificates come from the environment."""
    return Session(agent, allow)


def fetch(session: Session, url: str) -> bytes:
    """The bytes of a picture. Raises Unavailable."""
    return session.get(url, MAX_BYTES).content


def proxy(url: str) -> str | None:
    """The proxy that the environment names for an address, as requests reads it. Raises Unavailable if it is none that
    can be used."""
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if chosen and "://" not in chosen:
        return f"http://{chosen}"
    if chosen and not chosen.lower().startswith(("http://", "https://")):
        kind = chosen.partition("://")[0]
        raise Unavailable(
            "network", f"a proxy by {kind} is not used: name one that starts with http:// or https://"
        )
    return chosen


def certificates() -> str:
    """The file or folder of the authorities to trust, as requests finds it."""
    chosen = requests.Session().merge_environment_settings("https://", {}, None, None, None)["verify"]
    return chosen if isinstance(chosen, str) else requests.utils.DEFAULT_CA_BUNDLE_PATH


@functools.cache
def trusted(path: str) -> ssl.SSLContext:
    if Path(path).is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)
