"""The outer layers of the application: the path prefix, and each request's id, deadline and line in the log."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from greenr_luigi.web import metrics
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings, prefix

log = logging.getLogger("greenr.access")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Characters of a path in a line of the log.
SHOWN_PATH = 200


class RequestLog:
    """Gives each request an id and a deadline, counts and logs what came of it, and answers what failed unexpectedly:
    Starlette's own answer to that would come without the headers and the id. `internal_error` makes this answer."""

    def __init__(
        self, app: ASGIApp, settings: Settings, internal_error: Callable[[Request[Any]], Response]
    ) -> None:
        self.app = app
        self.settings = settings
        self.internal_error = internal_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = scope["request_id"] = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        who, path = visitor(scope), ascii(scope["path"])[:SHOWN_PATH]
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        deadline = asyncio.timeout(self.settings.answer_seconds)
        try:
            async with deadline:
                await self.app(scope, receive, send_with_id)
        except Exception:
            if not deadline.expired():
                log.exception("%s %s %s failed", request_id, scope["method"], path)
            if status:
                raise  # Only the server can break off an answer that has begun.
            slow = Problem(503, "too-slow", "the answer took too long: try again", retry_after=5)
            response = slow.response() if deadline.expired() else self.internal_error(Request(scope))
            await response(scope, receive, send_with_id)
        finally:
            status = status or 500  # Cancelled: the server ends.
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "other")
            metrics.count_request(route, scope["method"], status, seconds)
            log.info("%s %s %s %s %d %.1f ms", request_id, who, scope["method"], path, status, 1000 * seconds)


def visitor(scope: Scope) -> str:
    """The visitor's address, or "-": what a proxy that is believed says of it may be any text."""
    return _visitor((scope.get("client") or ("",))[0])


def client(scope: Scope) -> str:
    """Whose turn it is and who has had enough is told by this: the visitor's address; of IPv6 its first half, since a
    single line or host has all that begin alike."""
    return _client((scope.get("client") or ("",))[0])


# Asked several times for each request.
@functools.lru_cache(1024)
def _visitor(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return "-"


@functools.lru_cache(1024)
def _client(host: str) -> str:
    who = _visitor(host)
    if ":" not in who:
        return who
    ip = ipaddress.IPv6Address(who.split("%")[0])
    return str(ip.ipv4_mapped or ipaddress.IPv6Network((ip, 64), strict=False))


class TrustedProxies(ProxyHeadersMiddleware):
    """Who asks, by X-Forwarded-For of a proxy that was named; of anyone else it is not heard."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        # A socket that listens on IPv6 sees those of IPv4 as mapped ones.
        proxies = [
            *map(str, settings.trusted_proxies),
            *(
                f"::ffff:{network.network_address}/{96 + network.prefixlen}"
                for network in settings.trusted_proxies
                if network.version == 4
            ),
        ]
        super().__init__(app, proxies)  # type: ignore[arg-type]


class PathPrefix:
    """Makes the page right under a path prefix, whether or not the proxy takes the prefix off."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (root := self.prefix(scope)):
            path = scope["path"]
            if path == root:
                path += "/"
            inside = path.startswith(f"{root}/")
            scope = {**scope, "root_path": root, "path": path if inside else root + path}
        await self.app(scope, receive, send)

    def prefix(self, scope: Scope) -> str:
        """The proxy's, if it is believed and says one that can be used; else the one that was set."""
        with contextlib.suppress(KeyError, ValueError):
            if self.settings.forwarded_prefix:
                return prefix(Headers(scope=scope)["x-forwarded-prefix"])
        return self.settings.root_path
