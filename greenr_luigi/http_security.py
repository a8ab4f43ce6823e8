"""What keeps other web pages away from ours: headers of every answer, and the check of who sends a form."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: No inline script or style, nothing from another host; blob: and data: are the visitor's own pictures.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
#: The same as ASGI has them.
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
OURS = {name for name, _ in RAW_HEADERS}


class SecurityHeaders:
    """Middleware that gives every answer the HEADERS that it does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message["headers"]
                names = [name for name, _ in given]
                if OURS.isdisjoint(names):
                    message["headers"] = [*given, *RAW_HEADERS]
                else:
                    message["headers"] = [*given, *(pair for pair in RAW_HEADERS if pair[0] not in names)]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def same_origin(headers: Headers) -> bool:
    """Whether a browser says that its own page sends this; a program that says nothing is not heard."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "")
    if site is not None:
        return site == "same-origin"
    try:
        # "null" has no host, and neither has a request with an empty one.
        return urlsplit(origin).netloc == headers.get("host", "") != ""
    except ValueError:  # No address: "http://[".
        return False
