"""The gunicorn worker: uvicorn's, with a deadline for a request's headers and a fair share of connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from greenr_luigi.web.settings import Settings, from_environment

log = logging.getLogger("greenr")
#: Seconds that a worker waits before it takes another connection, for each that it has; and at most.
COURTESY, MOST_COURTESY = 0.001, 0.004
#: Seconds that a connection without a request gets to send one when the worker is told to end.
LAST_CALL = 0.5


class Protocol(HttpToolsProtocol):
    """uvicorn waits without end for headers that were begun, and when it ends resets what was sent but not yet read;
    this does neither."""

    patience: asyncio.TimerHandle | None = None
    header_seconds = Settings.header_seconds
    leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait()

    def wait(self) -> None:
        self.patience = self.loop.call_later(self.header_seconds, self.transport.close)

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
        if self.leaving:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and self.patience is None and not self.transport.is_closing():
            self.wait()  # An answer given before the whole request came; what comes now nobody waits for.

    def shutdown(self) -> None:
        self.leaving = True
        if self.idle():
            self.loop.call_later(LAST_CALL, self.close)
        else:
            self.cycle.keep_alive = False

    def idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def close(self) -> None:
        if self.idle():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.relax()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Takes connections one by one, the slower the more it has.

    libuv takes all that wait at once, so that one worker may hold every kept-alive connection of a crowd while
    its neighbour, and a core, stands idle. Here the worker that has fewer is the quicker to take the next.
    """

    header_seconds = Settings.header_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self.arriving: set[asyncio.Task[Any]] = set()
        for listening in sockets or []:
            listening.setblocking(False)
            self.listen(listening)

    def listen(self, listening: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listening.fileno(), self.accept, listening)

    def accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            self.take(listening)
        except (BlockingIOError, ConnectionAbortedError):
            return  # Another worker was quicker, or the visitor has gone.
        except OSError as error:
            log.error("no connection can be taken: %s", error)
        held = len(self.server_state.connections) + len(self.arriving)
        loop.remove_reader(listening.fileno())
        loop.call_later(min(COURTESY * held, MOST_COURTESY), self.listen, listening)

    def take(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection, _ = listening.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        arriving = loop.create_task(loop.connect_accepted_socket(self.protocol, connection))
        self.arriving.add(arriving)
        arriving.add_done_callback(self.arriving.discard)

    def protocol(self) -> asyncio.Protocol:
        made = Protocol(self.config, self.server_state, self.lifespan.state)
        made.header_seconds = self.header_seconds
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.should_exit = True
        for listening in sockets or []:
            asyncio.get_running_loop().remove_reader(listening.fileno())
            # Those who wait would be reset when the last worker closes the socket.
            with contextlib.suppress(OSError):
                while True:
                    self.take(listening)
            listening.close()
        await asyncio.gather(*self.arriving, return_exceptions=True)
        await super().shutdown(sockets)


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

    async def _serve(self) -> None:
        """As uvicorn_worker's, with our Server."""
        self.config.app = self.wsgi
        server = Server(config=self.config)
        server.header_seconds = from_environment(os.environ).header_seconds
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            raise SystemExit(3)  # gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR
