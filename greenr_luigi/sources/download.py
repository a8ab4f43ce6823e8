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


def session(agent: str = AGENT) -> requests.Session:
    """A session that many threads may use, which tries again what is worth it. Proxies come from the
    environment."""
    made = requests.Session()
    equip(made, agent)
    return made


def equip(made: requests.Session, agent: str = AGENT) -> None:
    made.headers["User-Agent"] = agent
    # A Retry-After of an hour would stop the crawl; what stays unavailable is listed as such.
    retry = Retry(total=2, backoff_factor=0.3, status_forcelist=(429, 502, 503, 504), raise_on_status=False,
                  respect_retry_after_header=False)  # fmt: skip
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(pool_maxsize=THREADS, max_retries=retry))


def fetch(made: requests.Session, url: str) -> bytes:
    """The bytes behind an address. Raises Unavailable: "address", "network", "slow", "too-large" or
    "http-<status>"."""
    if not url.lower().startswith(("http://", "https://")):
        raise Unavailable("address", f"{url!r} is not an address: it must start with http:// or https://")
    started = time.monotonic()
    data = bytearray()
    try:
        with made.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code != 200:
                raise Unavailable(
                    f"http-{response.status_code}",
                    f"the host answered {response.status_code} {response.reason}",
                )
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
    while (
        inner := getattr(error, "reason", None)
        or next((a for a in error.args if isinstance(a, BaseException)), None)
    ) and (isinstance(inner, BaseException)):
        error = inner
    text = str(error).rpartition(": ")[2] if "object at 0x" in str(error) else str(error)
    return f"{type(error).__name__}: {text}"
