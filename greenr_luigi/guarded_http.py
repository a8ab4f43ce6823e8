"""Fetching from an address that others gave, for the web classifier and for the crawl: every such address is hostile.

One set of rules. Only http and https, no name or password in an address, no connection inside the own network, however
the address is written or resolved: what was checked is connected to. Redirects are followed by hand, each checked as
the first address was; from https to http, too, as nothing secret is sent. No cookies, no .netrc, nothing unpacked. All
bytes are counted, and one deadline ends whatever goes on, by closing the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from greenr_luigi import public_network
from greenr_luigi.counted_answer import CountedAnswer
from greenr_luigi.public_network import PublicResolver, SystemResolver
from greenr_luigi.staleness.shown import harmless
from greenr_luigi.text import Network

MOST_REDIRECTS = 3
#: Characters of an address.
MOST_CHARACTERS = 2048
#: Seconds that a host may want to be left alone, about thirty years; whoever says more means never.
MOST_SECONDS = 1e9


class Unfetched(Exception):
    """Why there is nothing from an address. `reason`: "address" (it is not one to ask), "inside" (it is not public),
    "network", "slow", "too-large", "packed" or "http-<status>"; the message is for a person and names no remedy. A host
    may have written some of it. `retry_after`: seconds that it wants to be left alone, if it says so."""

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(harmless(message))
        self.reason, self.retry_after = reason, retry_after


@dataclass(frozen=True)
class Rules:
    """How addresses are fetched."""

    #: Bytes of an answer's body.
    most_bytes: int
    #: For one address, redirects included.
    seconds: float
    headers: Mapping[str, str]
    #: Ports that an address may name.
    ports: Container[int] = (80, 443)
    #: Networks that are not public and may be reached anyway.
    allow: Sequence[Network] = ()
    #: The proxy through which to ask a host, if any. What it connects to is its own affair.
    proxy: Callable[[str], str | None] = lambda url: None
    ssl: ssl.SSLContext | bool = True
    #: Told how many bytes of a body have come, each time; what it raises ends the fetch.
    arrived: Callable[[int], None] = lambda size: None
    #: Told of an answer of 200 before its body is read, and of one that leads on; what it raises ends the fetch.
    permits: Callable[[aiohttp.ClientResponse], None] = lambda response: None
    #: Awaited before a body of at most so many bytes is read; that counts to no deadline.
    room: Callable[[int], Awaitable[None]] | None = None
    #: Within which a host is asked, for each address that leads on; waiting for it counts to no deadline.
    turn: Callable[[URL], AbstractAsyncContextManager[None]] = lambda url: contextlib.nullcontext()
    #: Awaited before an address is asked to which another leads; what it raises ends the fetch. Counts to no deadline.
    leads_to: Callable[[URL], Awaitable[None]] | None = None


async def fetch(address: str, rules: Rules) -> bytes:
    """The bytes behind an address. Raises Unfetched, and what `turn` and `leads_to` raise."""
    url = check(address, rules)
    try:
        async with asyncio.timeout(rules.seconds) as deadline:
            for _ in range(MOST_REDIRECTS + 1):
                async with contextlib.AsyncExitStack() as stack:
                    with _paused(deadline):
                        await stack.enter_async_context(rules.turn(url))
                    answer = await _ask(url, rules, deadline)
                if isinstance(answer, bytes):
                    return answer
                url, wait = answer
                await asyncio.sleep(wait)
                if rules.leads_to:
                    with _paused(deadline):
                        await rules.leads_to(url)
    except TimeoutError:
        raise Unfetched("slow", f"it did not answer in {rules.seconds:.3g} seconds") from None
    raise Unfetched("address", f"it leads on more than {MOST_REDIRECTS} times")


@contextlib.contextmanager
def _paused(deadline: asyncio.Timeout) -> Iterator[None]:
    clock = asyncio.get_running_loop().time
    left = (deadline.when() or 0) - clock()
    deadline.reschedule(None)
    yield
    deadline.reschedule(clock() + left)


def check(address: str, rules: Rules) -> URL:
    """The address as one that may be asked. Raises Unfetched."""
    if len(address) > MOST_CHARACTERS:
        raise Unfetched("address", f"it has {len(address)} characters, at most {MOST_CHARACTERS} are read")
    try:
        url = URL(address.strip())
        scheme, port, host = url.scheme, url.port, url.host
    except (ValueError, TypeError):
        raise Unfetched("address", "it cannot be read as an address") from None
    if scheme not in ("http", "https") or not host:
        raise Unfetched("address", "it must start with http:// or https:// and name a host")
    if url.user is not None or url.password is not None or "@" in url.raw_authority:
        raise Unfetched("address", "it carries a user name or a password")
    if port not in rules.ports:
        raise Unfetched("address", f"it names port {port}, which is not asked")
    # A number is looked up by nobody, and a proxy would connect to it.
    if (number := public_network.number_of(host)) and public_network.is_forbidden(number, rules.allow):
        raise Unfetched("inside", "it does not lead to a public server")
    return url


async def _ask(url: URL, rules: Rules, deadline: asyncio.Timeout) -> bytes | tuple[URL, float]:
    """What one address answers, or where it leads, and after how many seconds that may be asked."""
    try:
        proxy = rules.proxy(str(url.origin()))
        async with (
            _session(rules, None if proxy else PublicResolver(rules.allow)) as session,
            session.get(url, allow_redirects=False, proxy=proxy, ssl=rules.ssl) as response,
        ):
            if response.status not in (301, 302, 303, 307, 308):
                return await _body(response, rules, deadline)
            rules.permits(response)
            if (wait := retry_after(response.headers) or 0) > rules.seconds:
                raise Unfetched("slow", f"it leads on, not before {wait:.0f} seconds have passed", wait)
            return check(str(url.join(URL(response.headers.get("Location", "")))), rules), wait
    except TimeoutError as error:
        raise Unfetched("slow", _plain(error)) from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if _comes_from_forbidden(error):
            raise Unfetched("inside", "it does not lead to a public server") from None
        raise Unfetched("network", _plain(error)) from None


async def _body(response: aiohttp.ClientResponse, rules: Rules, deadline: asyncio.Timeout) -> bytes:
    """The answer's bytes, counted while they come."""
    if response.status != 200:
        words = f"it answered {response.status} {response.reason!s:.60}"
        raise Unfetched(f"http-{response.status}", words, retry_after(response.headers))
    rules.permits(response)
    packed = response.headers.get("Content-Encoding", "identity")
    if packed.lower() != "identity":
        raise Unfetched("packed", f"it answered in packed form ({packed:.20}), though asked not to")
    too_large = Unfetched("too-large", f"more than {rules.most_bytes:,} bytes; the rest was not read")
    if (response.content_length or 0) > rules.most_bytes:
        raise too_large
    if rules.room:
        with _paused(deadline):
            await rules.room(rules.most_bytes if response.content_length is None else response.content_length)
    data = bytearray()
    async for chunk in response.content.iter_any():
        rules.arrived(len(chunk))
        data += chunk
        if len(data) > rules.most_bytes:
            raise too_large
    return bytes(data)


def retry_after(head: Mapping[str, str]) -> float | None:
    """Seconds that a host wants to be left alone, which it gives in seconds or as a date."""
    said = head.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", said):
        return min(float(said), MOST_SECONDS)
    try:
        when = parsedate_to_datetime(said)
        # Of HTTP's forms of a date one names no zone, and all mean the same.
        return max(when.replace(tzinfo=when.tzinfo or datetime.UTC).timestamp() - time.time(), 0)
    except (ValueError, OverflowError):
        return None


def _session(rules: Rules, public: PublicResolver | None) -> aiohttp.ClientSession:
    """`public`: None if a proxy is connected to, whose address is our own choice."""
    connector = aiohttp.TCPConnector(
        resolver=public or SystemResolver(),
        socket_factory=public.socket if public else None,
        use_dns_cache=False,
        force_close=True,
    )
    # No parameter takes it; a test sees that it counts.
    connector._factory = functools.partial(CountedAnswer, loop=asyncio.get_running_loop())  # type: ignore[assignment]
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", **rules.headers},
    )


def _comes_from_forbidden(error: BaseException | None) -> bool:
    """Whether our own refusal lies behind an error that aiohttp raised from it."""
    while error is not None:
        if isinstance(error, public_network.ForbiddenAddress):
            return True
        if isinstance(error, BaseExceptionGroup) and any(map(_comes_from_forbidden, error.exceptions)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _plain(error: BaseException) -> str:
    """What went wrong, of no more length than a sentence: a host may have written some of it."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    # By itself, it tells the whole address, which may hold a key.
    words = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return f"{type(error).__name__}: {words:.200}"
