"""By which names this server goes. A web page elsewhere can give its own name the address of this machine (DNS
rebinding), and is then this page to a browser: so under another name a visitor may look and ask, no more."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings, host_name

#: What a Host header may look like: a name or an address of either kind, perhaps with a port.
HOST = re.compile(r"(?P<name>\[[^\]@/]*\]|[^\[\]:@/]*)(:[0-9]{0,5})?")


class KnownHost:
    """Middleware for what is not for every page of the web. Raises Problem unless the request is for a loopback name or
    address, one of this machine's, or a host that was allowed."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.names = {*settings.allowed_hosts, *names_of_this_machine()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).getlist("host")
        name = requested(asked)
        if not is_ours(name, self.names):
            raise foreign(name)
        await self.app(scope, receive, send)


def is_ours(name: str | None, names: Collection[str]) -> bool:
    """Whether a name is that of this machine, or one of `names`."""
    return name is not None and (name in names or name.endswith(".localhost") or is_own_address(name))


def requested(hosts: list[str]) -> str | None:
    """The name in the one Host header of a request, as `host_name` writes it; None if there is no such name."""
    found = HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    try:
        return host_name(found["name"]) if found else None
    except ValueError:
        return None


def names_of_this_machine() -> Iterable[str]:
    """As it calls itself, in full and short, and as its network may call it (mDNS). No name server is asked."""
    short = socket.gethostname().partition(".")[0]
    for name in ("localhost", socket.gethostname(), short, f"{short}.local"):
        try:
            yield host_name(name)
        except ValueError:
            continue  # Not a name that could be asked for.


def is_own_address(text: str) -> bool:
    """Whether this is a loopback address or one of this machine's: one that a socket can be bound to."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return False
    if ip.is_unspecified or ip.is_multicast:
        return False
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((text, 0))
    except OSError:
        return False
    return True


def foreign(name: str | None) -> Problem:
    if name is None:
        return Problem(
            403, "foreign-host", "the request does not say for which host it is: send one Host header"
        )
    message = (
        f"this server does not know that it goes by the name {name}, so this is not for its visitors. If it does, "
        f"set allowed_hosts = {name} under [server] in luigi.cfg, or GREENR_ALLOWED_HOSTS={name} where no "
        "pipeline starts it, and start it again"
    )
    return Problem(403, "foreign-host", message)
