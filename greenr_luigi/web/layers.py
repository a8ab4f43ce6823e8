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
from typing import Any, NamedTuple

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
LINE = "%s %s %s %s %d %.1f ms"
#: Answers that are neither counted nor logged yet, at most, and for how many seconds.
UNTOLD, UNTOLD_SECONDS = 16, 0.5


class Done(NamedTuple):
    """A request that was answered: when, by time.time(), and what its line in the log says."""

    at: float
    request_id: str
    who: str
    method: str
    path: str
    status: int
    seconds: float
    route: str


class RequestLog:
    """Gives each request an id and a deadline, counts and logs what came of it, and answers what failed unexpectedly:
    Starlette's own answer to that would come without the headers and the id. `internal_error` makes this answer.

    While other requests wait for an answer, several are counted and logged at once: behind a run of the model, which
    leaves nothing of this in the processor's caches, one takes as long as four in a row."""

    def __init__(
        self, app: ASGIApp, settings: Settings, internal_error: Callable[[Request[Any]], Response]
    ) -> None:
        self.app = app
        self.settings = settings
        self.internal_error = internal_error
        self.under_way = 0
        self.untold: list[Done] = []
        self.timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        given = header(scope, b"x-request-id")
        request_id = scope["request_id"] = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        who, path = visitor(scope), ascii(scope["path"])[:SHOWN_PATH]
        status = 0
        self.under_way += 1

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
            self.under_way -= 1
            status = status or 500  # Cancelled: the server ends.
            seconds, route = time.monotonic() - began, getattr(scope.get("route"), "path", "other")
            self.untold.append(
                Done(time.time(), request_id, who, scope["method"], path, status, seconds, route)
            )
            if not self.under_way or len(self.untold) >= UNTOLD:
                self.tell()
            elif self.timer is None:
                self.timer = asyncio.get_running_loop().call_later(UNTOLD_SECONDS, self.tell)

    def tell(self) -> None:
        """Count and log what was answered."""
        if self.timer is not None:
            self.timer.cancel()
        untold, self.untold, self.timer = self.untold, [], None
        for done in untold:
            metrics.count_request(done.route, done.method, done.status, done.seconds)
        if log.isEnabledFor(logging.INFO):
            for at, *told, seconds, _ in untold:
                line = log.makeRecord(log.name, logging.INFO, "", 0, LINE, (*told, 1000 * seconds), None)
                line.created = at
                log.handle(line)


def header(scope: Scope, wanted: bytes) -> str:
    """What a request's header of this name, in small letters, says; empty where it has none."""
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return ""


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
