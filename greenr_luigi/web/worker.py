"""The gunicorn worker: uvicorn's, with a deadline for a request's headers and a fair share of connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
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
#: Bytes of a request that are no body: its head, its trailers, what frames chunks. As many more as it has of body.
MOST_FRAMING = 128 * 1024
#: Connections of a worker; for one more, the one that has been idle longest is closed.
MOST_CONNECTIONS = 512
#: Seconds until a worker that could not take a connection tries again.
BREATH = 1.0


class Protocol(HttpToolsProtocol):
    """uvicorn waits without end for headers that were begun, keeps as many as come, before a body and after it, and
    when it ends resets what was sent but not yet read; this does none of it."""

    patience: asyncio.TimerHandle | None = None
    header_seconds = Settings.header_seconds
    leaving = False
    #: Bytes of the current request, and of what came last.
    framing = body = arrived = 0
    #: Since when it has waited for a request, by time.monotonic().
    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait()

    def data_received(self, data: bytes) -> None:
        self.arrived = len(data)
        self.framing += self.arrived
        super().data_received(data)
        if self.framing > MOST_FRAMING + self.body and not self.transport.is_closing():
            if self.idle():
                self.send_400_response("The head of the request is too large.")
            else:
                self.transport.close()

    def on_body(self, body: bytes) -> None:
        self.body += len(body)
        self.framing -= len(body)
        super().on_body(body)

    def wait(self) -> None:
        self.since = time.monotonic()
        self.patience = self.loop.call_later(self.header_seconds, self.transport.close)

    def relax(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.framing, self.body = self.arrived, 0
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
            loop.remove_reader(listening.fileno())
            loop.call_later(BREATH, self.listen, listening)
            return
        held = len(self.server_state.connections) + len(self.arriving)
        if held > MOST_CONNECTIONS:
            self.make_room()
        loop.remove_reader(listening.fileno())
        loop.call_later(min(COURTESY * held, MOST_COURTESY), self.listen, listening)

    def make_room(self) -> None:
        idle = [one for one in self.server_state.connections if isinstance(one, Protocol) and one.idle()]
        if idle:
            min(idle, key=lambda one: one.since).transport.close()

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
        # Past it uvicorn answers 503 itself; idle ones make room for others before.
        "limit_concurrency": 2 * MOST_CONNECTIONS,
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
