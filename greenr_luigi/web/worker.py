"""The gunicorn worker: uvicorn's, with a deadline for a request's headers and a fair share of connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from greenr_luigi.serving.sockets import BACKLOG
from greenr_luigi.web.settings import Settings, from_environment

log = logging.getLogger("greenr")
#: Before it takes another connection a worker waits so many seconds for each that it has, and never longer than this.
ACCEPT_DELAY, MOST_ACCEPT_DELAY = 0.001, 0.004
#: Seconds until a worker that could not take a connection tries again.
ACCEPT_RETRY = 1.0
#: Seconds that a connection without a request gets to send one when the worker is told to end.
LAST_REQUEST = 0.5
#: Bytes of a request's head, trailers and chunk headers; with a body, as many more as the body has.
MOST_FRAMING = 128 * 1024
#: Connections of a worker; for one more, the one that has been idle longest is closed.
MOST_CONNECTIONS = 512
#: Ticks of a tenth of a second from one heartbeat to the next; gunicorn ends a worker that has none for its `timeout`.
HEARTBEAT = 10


class Protocol(HttpToolsProtocol):
    """uvicorn's, with what it lacks: headers must come in time; a head and trailers may only be so large; and when the
    worker ends, a connection is closed only after its request was answered."""

    header_seconds = Settings.header_seconds
    header_timer: asyncio.TimerHandle | None = None
    ending = False
    #: Bytes of the current request, and of what came last.
    framing = body = arrived = 0
    #: Since when it has waited for a request, by time.monotonic().
    idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.start_header_timer()

    def data_received(self, data: bytes) -> None:
        self.arrived = len(data)
        self.framing += self.arrived
        super().data_received(data)
        if self.framing > MOST_FRAMING + self.body and not self.transport.is_closing():
            if self.is_idle():
                self.send_400_response("The head of the request is too large.")
            else:
                self.transport.close()

    def on_body(self, body: bytes) -> None:
        self.body += len(body)
        self.framing -= len(body)
        super().on_body(body)

    def start_header_timer(self) -> None:
        self.idle_since = time.monotonic()
        self.header_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def stop_header_timer(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.framing, self.body = self.arrived, 0
        if self.header_timer is None:
            self.start_header_timer()

    def on_headers_complete(self) -> None:
        self.stop_header_timer()
        if b"://" in self.url and not self.url.startswith(b"/"):
            # What the target names counts, whatever Host says (RFC 9112, 3.2.2).
            self.headers[:] = [(name, value) for name, value in self.headers if name != b"host"]
            self.headers.append((b"host", self.url.partition(b"://")[2].partition(b"/")[0]))
        super().on_headers_complete()
        if self.ending:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and self.header_timer is None and not self.transport.is_closing():
            # The answer was given before the whole request came; nobody waits for the rest.
            self.start_header_timer()

    def shutdown(self) -> None:
        self.ending = True
        if self.is_idle():
            self.loop.call_later(LAST_REQUEST, self.close_if_idle)
        else:
            self.cycle.keep_alive = False

    def is_idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def close_if_idle(self) -> None:
        if self.is_idle():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_header_timer()
        super().connection_lost(exc)


class Server(uvicorn.Server):
    """Takes connections one by one, and waits the longer the more it has: so they spread evenly over the workers.

    libuv takes all that wait at once: one worker could hold every kept-alive connection of a crowd while another one,
    and its core, are idle. `notify`: tells gunicorn that this worker lives.
    """

    def __init__(self, config: uvicorn.Config, notify: Callable[[], None]) -> None:
        super().__init__(config)
        self.notify = notify

    async def on_tick(self, counter: int) -> bool:
        # uvicorn's own heartbeat goes by the time of day: a clock set back by two hours would stop it for two hours.
        if counter % HEARTBEAT == 0:
            self.notify()
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self.connecting: set[asyncio.Task[Any]] = set()
        for listening in sockets or []:
            listening.setblocking(False)
            # Not before: until now the server that this one replaces, if there is one, takes all connections.
            listening.listen(BACKLOG)
            self.listen(listening)

    def listen(self, listening: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listening.fileno(), self.accept, listening)

    def accept(self, listening: socket.socket) -> None:
        try:
            self.take_connection(listening)
        except (BlockingIOError, ConnectionAbortedError):
            return  # Another worker was quicker, or the visitor has gone.
        except OSError as error:
            log.error("no connection can be taken: %s", error)
            delay = ACCEPT_RETRY
        else:
            held = len(self.server_state.connections) + len(self.connecting)
            if held > MOST_CONNECTIONS:
                self.close_longest_idle()
            delay = min(ACCEPT_DELAY * held, MOST_ACCEPT_DELAY)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(delay, self.listen, listening)

    def close_longest_idle(self) -> None:
        connections = [one for one in self.server_state.connections if isinstance(one, Protocol)]
        idle = [one for one in connections if one.is_idle()]
        if idle:
            min(idle, key=lambda one: one.idle_since).transport.close()

    def take_connection(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection, _ = listening.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = partial(Protocol, self.config, self.server_state, self.lifespan.state)
        task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.should_exit = True
        for listening in sockets or []:
            asyncio.get_running_loop().remove_reader(listening.fileno())
            # Connections that wait would be reset when the last worker closes the socket.
            with contextlib.suppress(OSError):
                while True:
                    self.take_connection(listening)
            listening.close()
        await asyncio.gather(*self.connecting, return_exceptions=True)
        await super().shutdown(sockets)


class Worker(UvicornWorker):
    CONFIG_KWARGS = {  # noqa: RUF012 (uvicorn_worker's own name and type)
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "server_header": False,
        # The application knows which proxies to believe; uvicorn believes whoever asks from this machine.
        "proxy_headers": False,
        # Past it uvicorn answers 503 itself; idle ones make room for others before.
        "limit_concurrency": 2 * MOST_CONNECTIONS,
        "timeout_graceful_shutdown": 20,
        # The application writes its own line, with the request's id.
        "access_log": False,
        # The heartbeat is our Server's.
        "callback_notify": None,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        log.handlers = self.log.error_log.handlers
        log.setLevel(logging.INFO)
        log.propagate = False

    async def _serve(self) -> None:
        """As uvicorn_worker's, with our Server."""
        self.config.app = self.wsgi
        Protocol.header_seconds = from_environment(os.environ).header_seconds
        server = Server(self.config, self.notify)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            raise SystemExit(3)  # gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR
