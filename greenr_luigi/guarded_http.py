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
import errno
import functools
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, ParamSpec, TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from greenr_luigi.staleness.shown import harmless
from greenr_luigi.text import Network

MOST_REDIRECTS = 3
#: Characters of an address.
MOST_CHARACTERS = 2048
#: Bytes of an answer that are not its body: head, `100 Continue` and the like, trailers, the framing of chunks.
MOST_OVERHEAD = 2**19
#: Seconds that a host may want to be left alone, about thirty years; whoever says more means never.
MOST_SECONDS = 1e9
#: Look-ups of names at a time; one may go on when its fetch has been given up, since the system cannot end it.
LOOK_UPS = 64
#: Public by number, yet inside, or nowhere: Azure's metadata and health service, what networks keep for themselves
#: (such as relays of 6to4), and examples.
DENIED = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
ISATAP = (0x00005EFE, 0x02005EFE)

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Given = ParamSpec("Given")
Gives = TypeVar("Gives")
Gave = TypeVar("Gave")


class Unfetched(Exception):
    """Why there is nothing from an address. `reason`: "address" (it is not one to ask), "inside" (it is not public),
    "network", "slow", "too-large", "packed" or "http-<status>"; the message is for a person and names no remedy. A host
    may have written some of it. `retry_after`: seconds that it wants to be left alone, if it says so."""

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(harmless(message))
        self.reason, self.retry_after = reason, retry_after


class ForbiddenAddress(OSError):
    """Not an address of the public network. An OSError, which aiohttp cleans up after."""


class TooMuch(aiohttp.ClientPayloadError):
    """More bytes than an answer may have, its body aside."""


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
    #: Told of an answer before its body is read; what it raises ends the fetch.
    permits: Callable[[aiohttp.ClientResponse], None] = lambda response: None
    #: Awaited before a body of at most so many bytes is read; that counts to no deadline.
    room: Callable[[int], Awaitable[None]] | None = None
    #: Within which a host is asked, for each address that leads on; waiting for it counts to no deadline.
    turn: Callable[[URL], AbstractAsyncContextManager[None]] = lambda url: contextlib.nullcontext()


async def fetch(address: str, rules: Rules) -> bytes:
    """The bytes behind an address. Raises Unfetched, and what `turn` raises."""
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
    if (number := _number(host)) and is_forbidden(number, rules.allow):
        raise Unfetched("inside", "it does not lead to a public server")
    return url


def _number(host: str) -> str | None:
    """The IP address that a host is written as, in whatever way the system reads: 127.1 and 0x7f000001, too."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.split("%")[0]))
    with contextlib.suppress(OSError, ValueError):
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    return None


async def _ask(url: URL, rules: Rules, deadline: asyncio.Timeout) -> bytes | tuple[URL, float]:
    """What one address answers, or where it leads, and after how many seconds that may be asked."""
    try:
        proxy = rules.proxy(str(url.origin()))
        async with (
            _session(rules, None if proxy else PublicResolver(rules)) as session,
            session.get(url, allow_redirects=False, proxy=proxy, ssl=rules.ssl) as response,
        ):
            if response.status not in (301, 302, 303, 307, 308):
                return await _body(response, rules, deadline)
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


class CountedAnswer(ResponseHandler):
    """Ends a connection on which too much comes, of whatever kind: a host may send heads without end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.arrived = 0
        self.body: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        self.arrived += len(data)
        super().data_received(data)
        if self.transport and self.arrived - (self.body.total_bytes if self.body else 0) > MOST_OVERHEAD:
            self.set_exception(TooMuch("too much came that is no picture"))
            self.transport.abort()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        # Or the end of the connection would pass for that of the picture, or the picture be waited for.
        if self.body is not None and not self.body.is_eof():
            self.body.set_exception(
                exc if isinstance(exc, aiohttp.ClientError) else aiohttp.ClientPayloadError(str(exc))
            )

    def close(self) -> None:
        """At once: a host may be in no hurry to end TLS, and no connection is used twice."""
        self.abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head has come, and what follows is its body, unless it is one like `100 Continue`."""
        head, body = data
        if not 100 <= head.code < 200 and self.body is None:
            self.body = body
        super().feed_data(data, size)


class PublicResolver(AbstractResolver):
    """Resolves a name once, and refuses it whole when one of its addresses is forbidden."""

    def __init__(self, rules: Rules) -> None:
        self.allow = rules.allow
        self.resolver = SystemResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self.resolver.resolve(host, port, family)
        if any(is_forbidden(result["host"], self.allow) for result in results):
            raise ForbiddenAddress(host)
        return results

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last check, of the very address that is connected to."""
        family, kind, protocol, _, address = info
        if is_forbidden(str(address[0]), self.allow):
            raise ForbiddenAddress(address[0])
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        await self.resolver.close()


class SystemResolver(AbstractResolver):
    """The system's own look-up. Each has a thread of its own, so that a slow name holds no other one up, and none is
    waited for when its fetch has been given up."""

    _free = threading.BoundedSemaphore(LOOK_UPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        while not self._free.acquire(blocking=False):
            await asyncio.sleep(0.01)
        try:
            found = in_thread(self._look_up, host, port, family)
        except OSError:
            self._free.release()
            raise
        return [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=family, proto=protocol, flags=0)
            for family, _, protocol, _, at in await asyncio.wrap_future(found)
        ]

    def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
        try:
            # The scope of a link-local address is dropped: none is connected to.
            return [*socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]
        finally:
            self._free.release()

    async def close(self) -> None:
        pass


def in_thread(call: Callable[Given, Gives], *args: Given.args, **more: Given.kwargs) -> Future[Gives]:
    """Call in a thread that nobody waits for, not even the end of the program. Raises OSError where the system gives
    none."""
    future: Future[Gives] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call(*args, **more))
            except BaseException as error:  # noqa: BLE001  It is raised where the result is asked for.
                future.set_exception(error)

    try:
        threading.Thread(target=run, daemon=True, name="fetching").start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    return future


def in_background(work: Coroutine[Any, Any, Gave]) -> Future[Gave]:
    """Run in the one loop of this process, in a thread that nobody waits for: a loop has three open files, and many
    fetches at once would have too many."""
    return asyncio.run_coroutine_threadsafe(work, _loop(os.getpid()))


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """Of a process: the threads of one that was forked stay behind."""
    loop = asyncio.new_event_loop()
    in_thread(loop.run_forever)
    return loop


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


def is_forbidden(address: str, allow: Sequence[Network] = ()) -> bool:
    """Whether a connection to this IP address must not be made. `allow`: networks that may be reached anyway.

    It may be made to an address that is global, and neither multicast nor reserved. The same holds for each IPv4
    address inside an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo, ISATAP), which a gateway would unpack.
    """
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return True
    if _is_in(ip, allow):
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified or _is_in(ip, DENIED):
        return True
    if isinstance(ip, ipaddress.IPv4Address):
        return False
    return ip.is_site_local or any(is_forbidden(str(packed)) for packed in _packed(ip))


def _is_in(ip: IP, networks: Sequence[Network]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)


def _packed(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address carries."""
    packed = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if _is_in(ip, NAT64) or int(ip) >> 32 == 0 or (int(ip) >> 32) & 0xFFFFFFFF in ISATAP:
        packed.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in packed if address is not None]


def _comes_from_forbidden(error: BaseException | None) -> bool:
    """Whether our own refusal lies behind an error that aiohttp raised from it."""
    while error is not None:
        if isinstance(error, ForbiddenAddress):
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
