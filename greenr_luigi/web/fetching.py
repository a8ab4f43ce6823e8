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

MOST_REDIRECTS = 3
#: Characters of an address.
MOST_CHARACTERS = 2048
#: Fetches of one worker at a time.
AT_ONCE = 8
#: Public by number, yet inside: Azure's metadata and health service.
DENIED = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
ISATAP = (0x00005EFE, 0x02005EFE)

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
UPLOAD = "upload the picture instead"


class ForbiddenAddress(OSError):
    """Not an address of the public network. An OSError, which aiohttp cleans up after."""


def is_forbidden(address: str, allow: Sequence[Network] = ()) -> bool:
    """Whether a connection to this IP address must not be made. `allow`: networks that may be reached anyway.

    It may be made to an address that is global, and neither multicast nor reserved. The same holds for each IPv4
    address inside an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo, ISATAP), which a gateway would unpack.
    """
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return True
    if is_in(ip, allow):
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved or ip.is_unspecified or is_in(ip, DENIED):
        return True
    if isinstance(ip, ipaddress.IPv4Address):
        return False
    return ip.is_site_local or any(is_forbidden(str(packed)) for packed in packed_addresses(ip))


def is_in(ip: IP, networks: Sequence[Network]) -> bool:
    return any(ip.version == network.version and ip in network for network in networks)


def packed_addresses(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address carries."""
    packed = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if is_in(ip, NAT64) or int(ip) >> 32 == 0 or (int(ip) >> 32) & 0xFFFFFFFF in ISATAP:
        packed.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [address for address in packed if address is not None]


class PublicResolver(AbstractResolver):
    """Resolves a name once, and refuses it whole when one of its addresses is forbidden."""

    def __init__(self, allow: Sequence[Network], resolver: AbstractResolver) -> None:
        self.allow = allow
        self.resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self.resolver.resolve(host, port, family)
        if any(is_forbidden(result["host"], self.allow) for result in results):
            raise ForbiddenAddress(host)
        return results

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last check, of the very address that is connected to; literal addresses come only here."""
        family, kind, protocol, _, address = info
        if is_forbidden(str(address[0]), self.allow):
            raise ForbiddenAddress(address[0])
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        await self.resolver.close()


class Fetcher:
    """Fetches pictures for one worker."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self.session = session
        self.running = 0

    def check(self, address: str) -> URL:
        """The address as one that may be asked. Raises Problem."""
        if len(address) > MOST_CHARACTERS:
            raise refused(f"it has {len(address)} characters, at most {MOST_CHARACTERS} are read")
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
            ports = ", ".join(map(str, self.settings.fetch_ports))
            raise refused(f"it names port {port}, only {ports} are asked")
        return url

    async def fetch(self, address: str) -> bytes:
        """The bytes behind an address, at most MAX_BYTES of them, within the deadline. Raises Problem."""
        if not self.settings.fetch:
            raise Problem(403, "address-disabled", f"addresses are switched off here: {UPLOAD}")
        if self.running >= AT_ONCE:
            raise busy("addresses")
        self.running += 1
        try:
            async with asyncio.timeout(self.settings.fetch_seconds):
                return await self.follow(self.check(address))
        except TimeoutError:
            waited = f"the address did not answer in {self.settings.fetch_seconds:g} seconds"
            raise Problem(504, "address-slow", f"{waited}: {UPLOAD}") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if comes_from_forbidden(error):
                raise refused("it does not lead to a public server") from None
            raise unreachable(f"cannot be read: check it, or {UPLOAD}") from None
        finally:
            self.running -= 1

    async def follow(self, url: URL) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            async with self.session.get(url, allow_redirects=False) as response:
                if response.status not in (301, 302, 303, 307, 308):
                    return await read_picture(response)
                url = self.check(str(url.join(URL(response.headers.get("Location", "")))))
        raise refused(f"it leads on more than {MOST_REDIRECTS} times")


async def read_picture(response: aiohttp.ClientResponse) -> bytes:
    """The answer's bytes, counted while they come."""
    if response.status != 200:
        raise unreachable(f"answered {response.status}: check it, or {UPLOAD}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise unreachable(f"answered in packed form: {UPLOAD}")
    message = f"the picture has more than {MAX_BYTES:,} bytes: shrink it first"
    too_large = Problem(413, "picture-too-large", message)
    if (response.content_length or 0) > MAX_BYTES:
        raise too_large
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_BYTES:
            raise too_large
    return bytes(data)


def refused(why: str) -> Problem:
    message = f"this address is not fetched: {why}; give the picture's public address"
    return Problem(400, "address-refused", message)


def unreachable(why: str) -> Problem:
    return Problem(502, "address-unreachable", f"the address {why}")


def comes_from_forbidden(error: BaseException | None) -> bool:
    """Whether our own refusal lies behind an error that aiohttp raised from it."""
    while error is not None:
        if isinstance(error, ForbiddenAddress):
            return True
        if isinstance(error, BaseExceptionGroup) and any(map(comes_from_forbidden, error.exceptions)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextlib.asynccontextmanager
async def open_fetcher(
    settings: Settings, resolver: AbstractResolver | None = None
) -> AsyncIterator[Fetcher]:
    """A fetcher; `resolver` is for tests."""
    public = PublicResolver(settings.fetch_allow, resolver or aiohttp.ThreadedResolver())
    connector = aiohttp.TCPConnector(
        resolver=public, socket_factory=public.socket, use_dns_cache=False, force_close=True, limit=AT_ONCE
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
