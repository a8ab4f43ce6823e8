"""The gunicorn worker: uvicorn's, with a deadline for a request's headers and a fair share of connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from gunicorn.workers import base, workertmp  # type: ignore[import-untyped]
from uvicorn_worker import UvicornWorker

from greenr_luigi.serving.sockets import BACKLOG
from greenr_luigi.web.connection import Connection
from greenr_luigi.web.settings import from_environment

log = logging.getLogger("greenr")
#: Before it takes another connection a worker waits so many seconds for each that it has, and never longer than this;
#: not when so many in a row had another one waiting behind them, or a flood of one visitor's would hold up all others'.
ACCEPT_DELAY, MOST_ACCEPT_DELAY, CROWD = 0.001, 0.004, 64
#: Seconds until a worker that could not take a connection tries again; and when another one has made room.
ACCEPT_RETRY, ROOM_DELAY = 1.0, 0.05
#: Connections of a worker; for one more, of the visitor who has most the one longest without progress makes room.
MOST_CONNECTIONS = 512
#: Bytes of answers that wait for their readers, and seconds that a reader may stand still.
MOST_UNREAD, UNREAD_SECONDS = 64 * 2**20, 20.0
#: Ticks of a tenth of a second from one heartbeat to the next; gunicorn ends a worker that has none for its `timeout`.
HEARTBEAT = 10


def is_readable(listening: socket.socket) -> bool:
    """Whether a connection waits to be taken."""
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))


class Server(uvicorn.Server):
    """Takes connections one by one, and waits the longer the more it has: so they spread evenly over the workers.

    libuv takes all that wait at once: one worker could hold every kept-alive connection of a crowd while another one,
    and its core, are idle. `notify`: tells gunicorn that this worker lives.
    """

    def __init__(self, config: uvicorn.Config, notify: Callable[[], None]) -> None:
        super().__init__(config)
        self.notify = notify
        #: How many connections were taken in a row with another one waiting behind.
        self.crowd = 0
        #: Connections that make room for others, the first one last, and when each was further.
        self.leaving: list[tuple[Connection, float]] = []

    async def on_tick(self, counter: int) -> bool:
        # uvicorn's own heartbeat goes by the time of day: a clock set back by two hours would stop it for two hours.
        if counter % HEARTBEAT == 0:
            self.notify()
            self.look_after_readers()
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
            # No more files may be open, by a limit below MOST_CONNECTIONS.
            if error.errno in (errno.EMFILE, errno.ENFILE) and self.make_room():
                delay = ROOM_DELAY
            else:
                log.error("no connection can be taken: %s", error)
                delay = ACCEPT_RETRY
        else:
            held = len(self.server_state.connections) + len(self.connecting)
            if held > MOST_CONNECTIONS:
                self.make_room()
            self.crowd = self.crowd + 1 if is_readable(listening) else 0
            delay = min(ACCEPT_DELAY * held, MOST_ACCEPT_DELAY) if self.crowd < CROWD else 0
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.fileno())
        loop.call_later(delay, self.listen, listening)

    def connections(self) -> list[Connection]:
        return [one for one in self.server_state.connections if isinstance(one, Connection)]

    def make_room(self) -> bool:
        """End one connection; False if all are being answered."""
        while self.leaving or self.rank():
            one, moved = self.leaving.pop()
            if one.moved == moved and one.waits_for_client():
                one.give_way()
                return True
        return False

    def rank(self) -> bool:
        """Find who leaves next, if any: some at a time, since to look at all takes as long as to take ten more."""
        waiting = [one for one in self.connections() if one.waits_for_client()]
        held = Counter(one.visitor for one in self.connections())
        most = max((held[one.visitor] for one in waiting), default=0)
        longest = sorted((one.moved, id(one), one) for one in waiting if held[one.visitor] == most)
        self.leaving = [(one, moved) for moved, _, one in reversed(longest[: 1 + most // 8])]
        return bool(self.leaving)

    def look_after_readers(self) -> None:
        """An answer that nobody reads must not be held for long, nor many of them."""
        reading = [one for one in self.connections() if one.unread()]
        reading.sort(key=lambda one: one.moved)
        total, now = sum(one.unread() for one in reading), time.monotonic()
        for one in reading:
            if total > MOST_UNREAD or now - one.moved > UNREAD_SECONDS:
                total -= one.unread()
                one.transport.abort()

    def take_connection(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection, _ = listening.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol = partial(Connection, self.config, self.server_state, self.lifespan.state)
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


class Heartbeat(workertmp.WorkerTmp):  # type: ignore[misc]
    """What gunicorn sees a worker's heartbeat by, in memory alone: where the folder for its file was full, which anyone
    may fill, a worker that ended had no successor, and gunicorn ended with it."""

    def __init__(self, _: Any) -> None:
        self._tmp = os.fdopen(os.memfd_create("heartbeat"), "w+b", 0)


# gunicorn has no setting for it; a test sees that it counts.
base.WorkerTmp = Heartbeat


class Worker(UvicornWorker):
    CONFIG_KWARGS = {  # noqa: RUF012 (uvicorn_worker's own name and type)
        "loop": "uvloop",
        "http": Connection,
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
        Connection.header_seconds = from_environment(os.environ).header_seconds
        server = Server(self.config, self.notify)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            raise SystemExit(3)  # gunicorn.arbiter.Arbiter.WORKER_BOOT_ERROR
