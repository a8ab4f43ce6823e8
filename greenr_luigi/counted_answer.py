"""The bytes of an answer over HTTP, whatever they are: a host may send other things than a body, without end."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

#: Bytes of an answer that are not its body: head, `100 Continue` and the like, trailers, the framing of chunks.
MOST_OVERHEAD = 2**19


class TooMuch(aiohttp.ClientPayloadError):
    """More bytes than an answer may have, its body aside."""


class CountedAnswer(ResponseHandler):
    """Ends a connection on which too much comes, of whatever kind: a host may send heads without end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.arrived = 0
        self.body: StreamReader | None = None

    def data_received(self, data: bytes) -> None:
        self.arrived += len(data)
        super().data_received(data)
        if self.transport and self.arrived - (self.body.total_bytes if self.body else 0) > MOST_OVERHEAD:
            self.set_exception(TooMuch("too much came that is no picture"))
            self.transport.abort()

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        # Or the end of the connection would pass for that of the picture, or the picture be waited for.
        if self.body is not None and not self.body.is_eof():
            self.body.set_exception(
                exc if isinstance(exc, aiohttp.ClientError) else aiohttp.ClientPayloadError(str(exc))
            )

    def close(self) -> None:
        """At once: a host may be in no hurry to end TLS, and no connection is used twice."""
        self.abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """A head has come, and what follows is its body, unless it is one like `100 Continue`."""
        head, body = data
        if not 100 <= head.code < 200 and self.body is None:
            self.body = body
        super().feed_data(data, size)
