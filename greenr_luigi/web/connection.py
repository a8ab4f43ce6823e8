"""One client's connection: what it may send and hold, and how it makes room for others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from greenr_luigi.web import cycle as cycle  # Its Cycle takes the place of uvicorn's.
from greenr_luigi.web.intake import SHARE, STEP, Share
from greenr_luigi.web.layers import client
from greenr_luigi.web.problem import Problem, made_room
from greenr_luigi.web.settings import Settings

#: Seconds that a connection without a request gets to send one when the worker is told to end.
LAST_REQUEST = 0.5
#: Bytes of a request's head, trailers and chunk headers; with a body, as many more as the body has.
MOST_FRAMING = 128 * 1024
#: Headers of a request, and requests that are sent before the answer to the first: each takes a hundred times the
#: memory of its few bytes.
MOST_HEADERS, MOST_PIPELINED = 200, 16
#: Chunks of a body, and one more for each so many bytes: one of a few bytes takes as long as one of 64 KB.
MOST_CHUNKS, CHUNK = 1000, 64
#: A head that nothing follows until the client has read it.
CONTINUE = b"HTTP/1.1 100 "


class TooMany(ValueError):
    """Raised where the parser calls, which ends the request."""


class Transport:
    """A connection's, which sends an answer's head with the beginning of its body: uvicorn writes them apart, and a
    packet more takes a tenth of a millisecond.

    What is written once it has closed is lost: uvloop raises an error then, before uvicorn learns that the visitor has
    gone."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        #: What waits for the next write, the answer's end or the connection's.
        self.head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if not self.head and data.startswith(b"HTTP/1.1 ") and not data.startswith(CONTINUE):
            self.head = data
        else:
            self.send(data)

    def send(self, data: bytes = b"") -> None:
        """What waits, and this."""
        data, self.head = self.head + data, b""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        self.send()
        self.transport.close()


class Connection(HttpToolsProtocol):
    """uvicorn's, with what it lacks: headers must come in time; a request and what it brings are limited; and when the
    worker ends, a connection is closed only after its request was answered."""

    header_seconds = Settings.header_seconds
    header_timer: asyncio.TimerHandle | None = None
    ending = False
    #: Bytes of the current request, and of what came last without the bodies in it.
    framing = body = arrived = chunks = 0
    #: Whether a head has begun, and not come to its end.
    in_head = False
    #: When it was further by STEP bytes, a request or an answer, by time.monotonic(); bytes since, and of the answer
    #: that were unread then.
    moved = 0.0
    since = unread_then = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.writing = Transport(transport)
        super().connection_made(self.writing)  # type: ignore[arg-type]
        #: Whose turn it is.
        self.visitor = client({"client": self.client})
        self.start_header_timer()

    def data_received(self, data: bytes) -> None:
        self.arrived = len(data)
        self.framing += self.arrived
        self.since += self.arrived
        if self.since >= STEP:
            self.progress()
        super().data_received(data)
        if self.in_head and self.header_timer is None:
            self.start_header_timer()
        if self.framing > MOST_FRAMING + self.body and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def send_400_response(self, msg: str) -> None:
        if self.is_idle():
            super().send_400_response(msg)
        else:
            self.transport.close()

    def progress(self) -> None:
        self.moved, self.since = time.monotonic(), 0

    def on_body(self, body: bytes) -> None:
        self.body += len(body)
        self.framing -= len(body)
        # A request may begin behind it.
        self.arrived -= len(body)
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self.chunks += 1
        if self.chunks > MOST_CHUNKS + self.body // CHUNK:
            raise TooMany

    def start_header_timer(self) -> None:
        self.progress()
        self.header_timer = self.loop.call_later(self.header_seconds, self.end_head)

    def stop_header_timer(self) -> None:
        if self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None

    def end_head(self) -> None:
        waited = f"{self.header_seconds:g} seconds"
        self.refuse(Problem(408, "upload-slow", f"the request did not arrive in {waited}: send it again"))

    def refuse(self, problem: Problem) -> None:
        """Close the connection, with words for whoever has begun a request."""
        if self.in_head and self.is_idle() and not self.transport.is_closing():
            response = problem.response()
            lines = [name + b": " + value + b"\r\n" for name, value in response.raw_headers]
            head = b"".join([STATUS_LINE[problem.status], *lines, b"connection: close\r\n\r\n"])
            self.transport.write(head + bytes(response.body))
        self.transport.close()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MOST_PIPELINED:
            raise TooMany
        super().on_message_begin()
        self.framing, self.body, self.chunks = self.arrived, 0, 0
        self.in_head = True
        self.progress()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MOST_HEADERS:
            raise TooMany
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.stop_header_timer()
        self.in_head = False
        if b"://" in self.url and not self.url.startswith(b"/"):
            # What the target names counts, whatever Host says (RFC 9112, 3.2.2).
            self.headers[:] = [(name, value) for name, value in self.headers if name != b"host"]
            self.headers.append((b"host", self.url.partition(b"://")[2].partition(b"/")[0]))
        super().on_headers_complete()
        if self.ending:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        self.writing.send()
        self.progress()
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

    def unread(self) -> int:
        """Bytes of answers that the client has yet to read, beside what the system holds."""
        size = self.transport.get_write_buffer_size()
        if size < self.unread_then - STEP or size > self.unread_then:
            self.progress()
            self.unread_then = size
        return size

    def waits_for_client(self) -> bool:
        """Whether it is the client's part to go on: to send, or to read."""
        if self.unread():
            return True
        return not self.transport.is_closing() and (self.is_idle() or self.share() is not None)

    def share(self) -> Share | None:
        """What the request has of the budget, while it comes."""
        share = self.cycle.scope["state"].get(SHARE)
        return share if isinstance(share, Share) and share.is_coming() else None

    def give_way(self) -> None:
        """Make room for another connection."""
        if self.unread():
            self.transport.abort()
        elif self.is_idle():
            self.refuse(made_room())
        elif (share := self.share()) is not None:
            self.cycle.keep_alive = False
            share.give_way()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_header_timer()
        super().connection_lost(exc)
