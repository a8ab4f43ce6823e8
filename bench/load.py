"""A small load generator: keep-alive connections that send one prepared request after another."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


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


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Send a request and read its answer whole; its status."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"content-length:" in head:
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    else:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return status


async def visitor(port: int, requests: Sequence[bytes], start: int, until: float, found: Measured) -> None:
    turn = start
    while time.perf_counter() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                while time.perf_counter() < until:
                    began = time.perf_counter()
                    status = await exchange(reader, writer, requests[turn % len(requests)])
                    took = time.perf_counter() - began
                    turn += 1
                    found.statuses[status] += 1
                    if status == 200:
                        found.latencies.append(took)
                    elif status == 503:
                        found.turned_away.append(took)
                        await asyncio.sleep(0.1)  # A client that is told to come again does not hammer.
        except (OSError, asyncio.IncompleteReadError):
            found.lost += 1


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Measured:
    """Load a server on 127.0.0.1 with `connections` at a time for `seconds`."""

    async def run() -> Measured:
        found = Measured(seconds)
        until = time.perf_counter() + seconds
        spread = max(1, len(requests) // connections)
        await asyncio.gather(*(visitor(port, requests, n * spread, until, found) for n in range(connections)))
        return found

    return asyncio.run(run())
