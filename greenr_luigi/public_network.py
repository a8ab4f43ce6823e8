"""Which IP addresses are of the public network, however they are written or packed, and look-ups that give no other."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from greenr_luigi.background import in_thread
from greenr_luigi.text import Network

#: Look-ups of names at a time; one may go on when its fetch has been given up, since the system cannot end it.
LOOK_UPS = 64
#: Public by number, yet inside, or nowhere: Azure's metadata and health service, what networks keep for themselves
#: (such as relays of 6to4), and examples.
DENIED = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
ISATAP = (0x00005EFE, 0x02005EFE)

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


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


def number_of(host: str) -> str | None:
    """The IP address that a host is written as, in whatever way the system reads: 127.1 and 0x7f000001, too."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host.split("%")[0]))
    with contextlib.suppress(OSError, ValueError):
        return socket.inet_ntoa(socket.inet_aton(host.rstrip(".")))
    return None


class PublicResolver(AbstractResolver):
    """Resolves a name once, and refuses it whole when one of its addresses is forbidden."""

    def __init__(self, allow: Sequence[Network] = ()) -> None:
        self.allow = allow
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
        free = self._free
        while not free.acquire(blocking=False):
            await asyncio.sleep(0.01)
        try:
            # The scope of a link-local address is dropped: none is connected to.
            found = in_thread(
                socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except OSError:
            free.release()
            raise
        # Not by the thread: one that has not begun when its fetch is given up looks nothing up.
        found.add_done_callback(lambda _: free.release())
        return [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=family, proto=protocol, flags=0)
            for family, _, protocol, _, at in await asyncio.wrap_future(found)
        ]

    async def close(self) -> None:
        pass


def _renew() -> None:
    SystemResolver._free = threading.BoundedSemaphore(LOOK_UPS)


# In a process that is forked no look-up goes on of those that did.
os.register_at_fork(after_in_child=_renew)
