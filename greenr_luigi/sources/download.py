"""Fetching a picture from an address: bounded in bytes and time, with what went wrong in words."""

from __future__ import annotations

import time

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from greenr_luigi import about
from greenr_luigi.pictures.door import MAX_BYTES
from greenr_luigi.sources.source import THREADS, Unavailable

AGENT = f"Mozilla/5.0 (compatible; {about.NAME}/{about.version()})"
#: Seconds to connect, and between two bytes.
TIMEOUT = (5.0, 10.0)
#: Seconds for one picture altogether: a host that drips bytes must not hold a crawl.
DEADLINE = 30.0
#: Statuses that pass.
PASSING = (429, 502, 503, 504)


def session() -> requests.Session:
    """A session for `fetch`. Proxies come from the environment."""
    return equip(requests.Session(), AGENT)


def equip(session: requests.Session, agent: str) -> requests.Session:
    """Let many threads use a session, and have it try again what is worth it."""
    session.headers["User-Agent"] = agent
    # A Retry-After of an hour would stop the crawl; what stays unavailable is listed as such.
    retry = Retry(
        2,
        backoff_factor=0.3,
        status_forcelist=PASSING,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=THREADS, max_retries=retry))
    return session


def fetch(session: requests.Session, url: str) -> bytes:
    """The bytes behind an address. Raises Unavailable: "address", "network", "slow", "too-large" or
    "http-<status>"."""
    if not url.lower().startswith(("http://", "https://")):
        raise Unavailable("address", f"{url!r} is not an address: it must start with http:// or https://")
    started = time.monotonic()
    data = bytearray()
    try:
        with session.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                status = response.status_code
                raise Unavailable(f"http-{status}", f"the host answered {status} {response.reason}")
            for chunk in response.iter_content(65536):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Unavailable("too-large", f"more than {MAX_BYTES:,} bytes; the rest was not read")
                if time.monotonic() - started > DEADLINE:
                    raise Unavailable("slow", f"not here after {DEADLINE:.0f} s: {len(data):,} bytes came")
    except (requests.RequestException, UnicodeError) as error:
        # UnicodeError: requests lets through what the host name's IDNA encoding refuses.
        raise Unavailable("network", plain(error)) from None
    return bytes(data)


def plain(error: BaseException) -> str:
    """What went wrong without the stack of wrappings that requests and urllib3 put around it."""
    for cause in (getattr(error, "reason", None), *error.args):
        if isinstance(cause, BaseException):
            return plain(cause)
    text = str(error).rpartition(": ")[2] if "object at 0x" in str(error) else str(error)
    return f"{type(error).__name__}: {text}"
