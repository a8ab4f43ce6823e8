"""Fetching pictures, and pages of results, from addresses that others gave: by the rules of `guarded_http`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import requests
from yarl import URL

from greenr_luigi import about, background, guarded_http
from greenr_luigi.guarded_http import Rules
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.sources import opt_outs
from greenr_luigi.sources.hosts import Hosts, NotAsked
from greenr_luigi.sources.memory import MEMORY, Body
from greenr_luigi.sources.results import Answer
from greenr_luigi.sources.source import PASSING, Request, Unavailable
from greenr_luigi.text import Network

#: Bytes of a page of results.
MAX_PAGE_BYTES = 4 * 2**20
#: Seconds for one picture or page altogether: a host that drips bytes must not hold a crawl.
DEADLINE = 30.0
#: Hosts of which the proxy is remembered.
MOST_PROXIED = 4096
#: How often an address is tried again where what failed may pass.
RETRIES = 3
#: The web's, and those that a person may have chosen; the others belong to services that are no web servers.
PORTS = frozenset({80, 443, *range(1024, 2**16)})


@dataclass(frozen=True)
class Session:
    """As whom to ask, which networks that are not public may be asked, and how long. `hosts`: what is known of those
    that are asked. `opt_outs`: whether a picture is left that its host keeps from models. `leads_to`: called, in a
    thread, with an address to which another has led, before it is asked; raises Unavailable if it may not be."""

    agent: str = field(default_factory=about.agent)
    allow: Sequence[Network] = ()
    seconds: float = DEADLINE
    retries: int = RETRIES
    hosts: Hosts = field(default_factory=Hosts)
    opt_outs: bool = True
    leads_to: Callable[[URL], object] | None = None

    def get(self, url: str, most_bytes: int = MAX_PAGE_BYTES, **headers: str) -> Answer:
        """What lies at an address; what passes is tried again. Raises Unavailable: "address", "inside",
        "network", "slow", "too-large", "packed" or "http-<status>"."""
        return Answer(self._got(url, self._rules(most_bytes, headers)))

    def page(self, url: str, permits: Callable[[aiohttp.ClientResponse], None]) -> Answer:
        """As `get`, unless `permits` raises guarded_http.Unfetched for the head of the answer or a redirect to it."""
        return Answer(self._got(url, replace(self._rules(MAX_PAGE_BYTES, {}), permits=permits)))

    def picture(self, url: str) -> Future[bytes]:
        """What lies at the address of a picture, as `get` has it, without waiting for it. Raises Unavailable:
        "opt-out", too."""
        return background.in_background(self._picture(url))

    async def _picture(self, url: str) -> bytes:
        taken = 0

        async def room(size: int) -> None:
            nonlocal taken
            # Of an earlier try: who waits must hold nothing for which others wait.
            MEMORY.give(taken)
            taken = 0
            await MEMORY.take(size)
            taken = size

        try:
            data = Body(await self._told(url, replace(self._picture_rules, room=room)))
            taken -= len(data)
            return data
        finally:
            MEMORY.give(taken)

    def _rules(self, most_bytes: int, headers: Mapping[str, str]) -> Rules:
        return Rules(
            most_bytes,
            self.seconds,
            {"User-Agent": self.agent, "Accept": "*/*", **headers},
            ports=PORTS,
            allow=self.allow,
            proxy=functools.lru_cache(MOST_PROXIED)(proxy),
            ssl=trusted(certificates()),
            leads_to=self._led if self.leads_to else None,
        )

    async def _led(self, url: URL) -> None:
        assert self.leads_to
        try:
            await asyncio.to_thread(self.leads_to, url)
        except Unavailable as why:
            raise NotAsked(why.reason, str(why)) from None

    @functools.cached_property
    def _picture_rules(self) -> Rules:
        rules = self._rules(MAX_BYTES, {})
        return replace(rules, permits=_refuse_opt_out) if self.opt_outs else rules

    def _got(self, url: str, rules: Rules) -> bytes:
        return background.in_background(self._told(url, rules)).result()

    async def _told(self, url: str, rules: Rules) -> bytes:
        try:
            return await self._tried(url, rules)
        except guarded_http.Unfetched as error:
            why = error
        except OSError as error:  # No thread, or no more open files.
            why = guarded_http.Unfetched("network", str(error))
        remedy = (
            ": name your own network in --allow-networks to fetch from it" if why.reason == "inside" else ""
        )
        raise Unavailable(why.reason, f"{why}{remedy}")

    async def _tried(self, url: str, rules: Rules) -> bytes:
        clock = asyncio.get_running_loop().time
        ends, asked = math.inf, URL()

        @contextlib.asynccontextmanager
        async def turn(at: URL) -> AsyncIterator[None]:
            nonlocal ends, asked
            async with self.hosts.turn(at):
                # Before its first turn an address waits for others.
                ends, asked = min(ends, clock() + self.seconds), at
                yield

        rules = replace(rules, turn=turn)
        for tries in itertools.count(1):
            try:
                return await guarded_http.fetch(
                    url, replace(rules, seconds=min(ends - clock(), self.seconds))
                )
            except guarded_http.Unfetched as error:
                if tries > self.retries or not PASSING.fullmatch(error.reason) or isinstance(error, NotAsked):
                    raise
                wait = self.hosts.wait(asked, tries)
                if wait is None or clock() + wait >= ends:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError


def _refuse_opt_out(response: aiohttp.ClientResponse) -> None:
    head = response.headers
    if word := opt_outs.said_in(head.getall("X-Robots-Tag", []), head.getall("tdm-reservation", [])):
        raise guarded_http.Unfetched("opt-out", f"{opt_outs.SAYS}: {word}")


def session(request: Request) -> Session:
    """A session for what is asked for. Proxies and certificates come from the environment."""
    hosts = Hosts(request.per_host, request.root, DEADLINE)
    agent = about.agent(request.contact)
    return Session(agent, request.allow, retries=RETRIES, hosts=hosts, opt_outs=request.opt_outs)


def fetch(session: Session, url: str) -> bytes:
    """The bytes of a picture. Raises Unavailable."""
    return begin(session, url).result()


def begin(session: Session, url: str) -> Future[bytes]:
    """A picture that is being fetched: no thread waits. The future raises Unavailable."""
    return session.picture(url)


def proxy(url: str) -> str | None:
    """The proxy that the environment names for an address, as requests reads it. Raises Unavailable if it is none that
    can be used."""
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if not chosen:
        return None
    if "://" not in chosen:
        chosen = f"http://{chosen}"
    if not chosen.lower().startswith(("http://", "https://")):
        kind = chosen.partition("://")[0]
        raise Unavailable(
            "network", f"a proxy by {kind} is not used: name one that starts with http:// or https://"
        )
    try:
        parts = urllib.parse.urlsplit(chosen)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        # Not as it is written: it may hold a password.
        raise Unavailable(
            "network",
            f"the proxy that the environment names for {urllib.parse.urlsplit(url).scheme} is no address: expected "
            "http://name:password@host:port, in which # / ? and % of a password are %23 %2F %3F and %25",
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
