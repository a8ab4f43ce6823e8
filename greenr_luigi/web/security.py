"""The outermost layers: headers of every answer, the request's id, its deadline, the path prefix."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenr_luigi.http_security import HEADERS
from greenr_luigi.web import metrics
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings, prefix

log = logging.getLogger("greenr.access")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Characters of a path in a line of the log.
SHOWN_PATH = 200


class Envelope:
    """Gives each request an id and a deadline, each answer its headers, and the log a line."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:16]
        scope["request_id"] = request_id
        status = 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
            await send(message)

        try:
            async with asyncio.timeout(self.settings.answer_seconds):
                await self.app(scope, receive, with_headers)
        except TimeoutError:
            if status:
                raise
            slow = Problem(503, "too-slow", "the answer took too long: try again", retry_after=5)
            await JSONResponse(slow.as_json(), slow.status, slow.headers)(scope, receive, with_headers)
        finally:
            status = status or 500  # What nobody foresaw; answered further out.
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", "other")
            metrics.REQUESTS.labels(route, scope["method"], str(status)).inc()
            metrics.SECONDS.labels(route).observe(seconds)
            log.info(
                "%s %s %s %r %d %.1f ms",
                request_id,
                visitor(scope),
                scope["method"],
                scope["path"][:SHOWN_PATH],
                status,
                seconds * 1000,
            )


def visitor(scope: Scope) -> str:
    """The visitor's address, or "-": what a proxy that is believed says of it may be any text."""
    try:
        return str(ipaddress.ip_address((scope.get("client") or ("",))[0]))
    except ValueError:
        return "-"


class Prefix:
    """Makes the page right under a path prefix, whether or not the proxy takes the prefix off."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            root = self.settings.root_path
            if self.settings.forwarded_prefix:
                try:
                    root = prefix(Headers(scope=scope).get("x-forwarded-prefix", root))
                except ValueError:
                    root = self.settings.root_path
            if root:
                path = scope["path"]
                inside = path == root or path.startswith(f"{root}/")
                scope = {**scope, "root_path": root, "path": path if inside else root + path}
        await self.app(scope, receive, send)
