"""A small load generator: keep-alive connections that send one prepared request after another."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import uvloop


@dataclass
class Measured:
    """What came of a run."""

    seconds: float
    #: Seconds of each request that was answered 200.
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Seconds of each request that was answered 503.
    turned_away: list[float] = field(default_factory=list)
    lost: int = 0
    #: Seconds of processor time that the server used meanwhile.
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Requests answered 200, a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, q: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def multipart(path: str, data: bytes, port: int, field_name: str = "file") -> bytes:
    """One POST of a picture, as bytes on the wire."""
    part = f'--b\r\nContent-Disposition: form-data; name="{field_name}"; filename="a.jpg"\r\n'
    body = f"{part}Content-Type: image/jpeg\r\n\r\n".encode() + data + b"\r\n--b--\r\n"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Visitor(asyncio.Protocol):
    """Sends one request after another on a connection; a new one where that is lost. By callbacks, not streams: what
    it takes, it takes from the server."""

    def __init__(
        self, port: int, requests: Sequence[bytes], start: int, until: float, found: Measured
    ) -> None:
        self.port, self.requests, self.turn, self.until, self.found = port, requests, start, until, found
        self.loop = asyncio.get_running_loop()

    async def visit(self) -> None:
        while time.perf_counter() < self.until:
            self.ended = self.loop.create_future()
            try:
                await self.loop.create_connection(lambda: self, "127.0.0.1", self.port)
                await self.ended
            except OSError:
                self.found.lost += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        if time.perf_counter() > self.until:
            self.ended.set_result(None)
            self.transport.close()
        elif not self.transport.is_closing():
            self.answer = b""
            self.began = time.perf_counter()
            self.transport.write(self.requests[self.turn % len(self.requests)])

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        _, found, length = head.partition(b"content-length:")
        if len(body) < int(length.partition(b"\r\n")[0]) if found else not body.endswith(b"0\r\n\r\n"):
            return
        took, status = time.perf_counter() - self.began, int(head.split(b" ", 2)[1])
        self.turn += 1
        self.found.statuses[status] += 1
        if status == 200:
            self.found.latencies.append(took)
        elif status == 503:
            self.found.turned_away.append(took)
            self.loop.call_later(0.1, self.ask)  # A client that is told to come again does not hammer.
            return
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.found.lost += 1
            self.ended.set_result(None)


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Measured:
    """Load a server on 127.0.0.1 with `connections` at a time for `seconds`."""

    async def run() -> Measured:
        found = Measured(seconds)
        until = time.perf_counter() + seconds
        spread = max(1, len(requests) // connections)
        await asyncio.gather(
            *(Visitor(port, requests, n * spread, until, found).visit() for n in range(connections))
        )
        return found

    return uvloop.run(run())
