"""Fetching a picture from an address that a stranger gave: every such address is hostile."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from greenr_luigi.pictures.door import MAX_BYTES
from greenr_luigi.web.problem import Problem, busy
from greenr_luigi.web.settings import Network, Settings

REDIRECTS = 3
MAX_ADDRESS = 2048
#: Fetches of one worker at a time.
AT_ONCE = 8
#: Public by number, yet inside: Azure's metadata and health service.
DENIED = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
ISATAP = (0x00005EFE, 0x02005EFE)

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


class Forbidden(OSError):
    """Not an address of the public network. An OSError, which aiohttp cleans up after."""


def forbidden(address: str, allow: Sequence[Network] = ()) -> bool:
    """Whether a connection to this IP address must not be made. `allow`: networks that may be reached anyway.

    Global, not multicast, not reserved, and so is each address that is packed inside (mapped, compatible,
    NAT64, 6to4, Teredo, ISATAP): a gateway would unpack it.
    """
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return True
    if any(ip.version == network.version and ip in network for network in allow):
        return False
    site_local = ip.version == 6 and ip.is_site_local
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified or site_local:
        return True
    if any(ip.version == network.version and ip in network for network in DENIED):
        return True
    return any(forbidden(str(inner)) for inner in inside(ip))


def inside(ip: IP) -> list[IP]:
    """The IPv4 addresses that an IPv6 address carries."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    found: list[IP | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if (
        any(ip in network for network in NAT64)
        or int(ip) >> 32 == 0
        or (int(ip) >> 32) & 0xFFFFFFFF in ISATAP
    ):
        found.append(low)
    return [address for address in found if address is not None]


class Guard(AbstractResolver):
    """Resolves a name once, and refuses it whole when one of its addresses is forbidden."""

    def __init__(self, allow: Sequence[Network], resolver: AbstractResolver) -> None:
        self.allow = allow
        self.resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self.resolver.resolve(host, port, family)
        if any(forbidden(one["host"], self.allow) for one in found):
            raise Forbidden(host)
        return found

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last look, at the very address that is connected to; literal addresses come only here."""
        family, kind, protocol, _, where = info
        if forbidden(str(where[0]), self.allow):
            raise Forbidden(where[0])
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        await self.resolver.close()


class Fetcher:
    """Fetches pictures for one worker."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.session = session
        self.free = AT_ONCE

    def check(self, address: str) -> URL:
        """The address as one that may be asked. Raises Problem."""
        if len(address) > MAX_ADDRESS:
            raise refused(f"it has {len(address)} characters, at most {MAX_ADDRESS} are read")
        try:
            url = URL(address.strip())
            scheme, port = url.scheme, url.port
        except (ValueError, TypeError):
            raise refused("it cannot be read as an address") from None
        if scheme not in ("http", "https") or not url.host:
            raise refused("it must start with http:// or https:// and name a host")
        if url.user is not None or url.password is not None or "@" in url.raw_authority:
            raise refused("it carries a user name or a password")
        if port not in self.settings.fetch_ports:
            raise refused(
                f"it names port {port}, only {', '.join(map(str, self.settings.fetch_ports))} are asked"
            )
        return url

    async def fetch(self, address: str) -> bytes:
        """The bytes behind an address, at most MAX_BYTES of them, within the deadline. Raises Problem."""
        if not self.settings.fetch:
            raise Problem(
                403, "address-disabled", "addresses are switched off here: upload the picture instead"
            )
        if not self.free:
            raise busy("addresses")
        self.free -= 1
        try:
            async with asyncio.timeout(self.settings.fetch_seconds):
                return await self.follow(self.check(address))
        except TimeoutError:
            waited = f"{self.settings.fetch_seconds:g} seconds"
            raise Problem(
                504, "address-slow", f"the address did not answer in {waited}: upload the picture instead"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if is_forbidden(error):
                raise refused("it does not lead to a public server") from None
            raise Problem(
                502,
                "address-unreachable",
                "the address cannot be read: check it, or upload the picture instead",
            ) from None
        finally:
            self.free += 1

    async def follow(self, url: URL) -> bytes:
        for _ in range(REDIRECTS + 1):
            async with self.session.get(url, allow_redirects=False) as response:
                if response.status not in (301, 302, 303, 307, 308):
                    return await body(response)
                url = self.check(str(url.join(URL(response.headers.get("Location", "")))))
        raise refused(f"it leads on more than {REDIRECTS} times")


async def body(response: aiohttp.ClientResponse) -> bytes:
    """The answer's bytes, counted while they come."""
    if response.status != 200:
        message = f"the address answered {response.status}: check it, or upload the picture instead"
        raise Problem(502, "address-unreachable", message)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(
            502, "address-unreachable", "the address answered in packed form: upload the picture instead"
        )
    too_large = Problem(
        413, "picture-too-large", f"the picture has more than {MAX_BYTES:,} bytes: shrink it first"
    )
    if (response.content_length or 0) > MAX_BYTES:
        raise too_large
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_large
    return bytes(data)


def refused(why: str) -> Problem:
    return Problem(
        400, "address-refused", f"this address is not fetched: {why}; give the picture's public address"
    )


def is_forbidden(error: BaseException | None) -> bool:
    """Whether our own refusal lies behind an error that aiohttp raised from it."""
    while error is not None:
        if isinstance(error, Forbidden):
            return True
        if isinstance(error, BaseExceptionGroup) and any(is_forbidden(one) for one in error.exceptions):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.asynccontextmanager
async def running(settings: Settings, resolver: AbstractResolver | None = None) -> AsyncIterator[Fetcher]:
    """A fetcher; `resolver` is for tests."""
    guard = Guard(settings.fetch_allow, resolver or aiohttp.ThreadedResolver())
    connector = aiohttp.TCPConnector(
        resolver=guard, socket_factory=guard.socket, use_dns_cache=False, force_close=True, limit=AT_ONCE
    )
    # No proxy from the environment, no cookies, nothing unpacked: the size is what came over the wire.
    async with aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "greenr_luigi"},
    ) as session:
        yield Fetcher(settings, session)
