"""A request and its answer, as uvicorn has them; the head of a usual answer is put together in less time."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

from greenr_luigi.http_security import RAW_HEADERS

#: Headers that all answers have, as they are written: nothing in them has to be looked for each time.
KNOWN = {(name, value): name + b": " + value + b"\r\n" for name, value in RAW_HEADERS}
#: With these, an answer is no usual one.
LENGTH, CONNECTION, CODING = b"content-length", b"connection", b"transfer-encoding"


class Cycle(RequestResponseCycle):
    """Of a usual answer the length is told, and nothing of the connection."""

    async def send(self, message: Any) -> None:
        begins = message["type"] == "http.response.start" and not self.response_started
        if begins and not self.flow.write_paused and not self.disconnected:
            lines = [STATUS_LINE[message["status"]]]
            length = None
            for header in (*self.default_headers, *message["headers"]):
                line = KNOWN.get(header)
                if line is None:
                    name, value = header[0].lower(), header[1]
                    if name == LENGTH:
                        length = int(value)
                    elif name in (CONNECTION, CODING):
                        length = None
                        break
                    line = written(name, value)
                lines.append(line)
            if length is not None:
                self.response_started, self.waiting_for_100_continue = True, False
                self.expected_content_length, self.chunked_encoding = length, False
                lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
                self.transport.write(b"".join(lines))
                return
        await super().send(message)


def written(name: bytes, value: bytes) -> bytes:
    """A header, which must not be able to begin another one. Raises RuntimeError, as uvicorn does."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise RuntimeError(f"invalid HTTP header {name!r}")
    return name + b": " + value + b"\r\n"


# uvicorn has no setting for it; a test sees that it counts.
httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]
