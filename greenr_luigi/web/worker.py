"""The gunicorn worker: uvicorn's, with a deadline for a request's headers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

#: Seconds from a connection, or from the last answer on it, to the end of the next request's headers.
HEADER_SECONDS = 15.0


class Protocol(HttpToolsProtocol):
    """uvicorn waits without end for headers that were begun; this does not."""

    patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait()

    def wait(self) -> None:
        self.patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def relax(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.patience is None:
            self.wait()

    def on_headers_complete(self) -> None:
        self.relax()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and self.patience is None and not self.transport.is_closing():
            self.wait()  # An answer given before the whole request came; what comes now nobody waits for.

    def connection_lost(self, exc: Exception | None) -> None:
        self.relax()
        super().connection_lost(exc)


class Worker(UvicornWorker):
    CONFIG_KWARGS = {  # noqa: RUF012 (uvicorn_worker's own name and type)
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "server_header": False,
        # Many more open connections than pictures may wait; past it uvicorn answers 503 itself.
        "limit_concurrency": 512,
        "timeout_graceful_shutdown": 20,
        # The application writes its own line, with the request's id.
        "access_log": False,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ours = logging.getLogger("greenr")
        ours.handlers = self.log.error_log.handlers
        ours.setLevel(logging.INFO)
        ours.propagate = False
