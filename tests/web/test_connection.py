"""What a connection may hold, and how it makes room, over real sockets in this process."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http import httptools_impl

from greenr_luigi.web import app, connection, cycle, worker
from greenr_luigi.web.connection import (
    MOST_CHUNKS,
    MOST_FRAMING,
    MOST_HEADERS,
    MOST_PIPELINED,
    Connection,
    Transport,
)
from greenr_luigi.web.settings import Settings
from greenr_luigi.web.worker import Server
from tests import tiny_release

LARGE = 8 * 2**20
HEAD = b"POST /api/predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
STILL = HEAD + b"Content-Length: 90000\r\n\r\n--b"
ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def large(_: Request) -> Response:
    return Response(bytes(LARGE))


class Page:
    """A server, and clients that send something and wait."""

    def __init__(self, server: Server, port: int) -> None:
        self.server, self.port = server, port
        self.clients: list[asyncio.StreamWriter] = []

    async def send(self, data: bytes, who: str = "127.0.0.1") -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=1000, local_addr=(who, 0)
        )
        self.clients.append(writer)
        before = sum(one.since + one.moved for one in self.server.connections())
        writer.write(data)
        await writer.drain()
        while sum(one.since + one.moved for one in self.server.connections()) == before:
            await asyncio.sleep(0.005)
        return reader

    async def upload(self) -> bytes:
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        body = part + tiny_release.picture() + b"\r\n--b--\r\n"
        reader = await self.send(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return await reader.read()


@contextlib.asynccontextmanager
async def serving(root: Path, seconds: float = 15) -> AsyncIterator[Page]:
    tiny_release.deploy(root / "releases")
    made = app.create(Settings(root / "releases"))
    made.router.routes.append(Route("/large", large))
    how = {"http": Connection, "lifespan": "on", "log_config": None, "access_log": False}
    server = Server(uvicorn.Config(made, **how), lambda: None)  # type: ignore[arg-type]
    Connection.header_seconds = seconds
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.005)
        page = Page(server, listening.getsockname()[1])
        try:
            yield page
        finally:
            for writer in page.clients:
                writer.transport.abort()
            server.should_exit = True
            await running


def run(root: Path, asked: Callable[[Page], Awaitable[None]], loop: Any = None, **how: float) -> None:
    async def ask() -> None:
        async with asyncio.timeout(30), serving(root, **how) as page:
            await asked(page)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ask())


@pytest.mark.parametrize("still", [STILL, HEAD], ids=["a body", "a head"])
def test_who_stands_still_longest_makes_room_and_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still: bytes
) -> None:
    monkeypatch.setattr(worker, "MOST_CONNECTIONS", 3)

    async def ask(page: Page) -> None:
        first, *others = [await page.send(still) for _ in range(3)]
        assert b'"label":"dandelion"' in await page.upload()
        told = await first.read()
        assert told.startswith(b"HTTP/1.1 503 ") and b"send it again" in told
        assert b"retry-after: 1" in told.lower() and b"connection: close" in told.lower()
        assert not any(one.at_eof() for one in others)

    run(tmp_path, ask)


def test_of_who_has_most_connections_one_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_CONNECTIONS", 3)

    async def ask(page: Page) -> None:
        alone = await page.send(STILL, "127.0.0.2")
        first = await page.send(STILL)
        await page.send(STILL)
        assert b'"label":"dandelion"' in await page.upload()
        assert b"send it again" in await first.read() and not alone.at_eof()

    run(tmp_path, ask)


def test_a_flood_of_connections_is_taken_without_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else those that come behind it wait for all of it."""
    monkeypatch.setattr(worker, "CROWD", 3)
    waits: list[float] = []

    async def ask(page: Page) -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(delay: float, work: Callable[..., object], *arguments: object) -> asyncio.TimerHandle:
            if work == page.server.listen:
                waits.append(delay)
            return later(delay, work, *arguments)

        monkeypatch.setattr(loop, "call_later", call_later)
        with contextlib.ExitStack() as crowd:
            for _ in range(9):
                crowd.enter_context(socket.create_connection(("127.0.0.1", page.port)))
            while len(waits) < 9:
                await asyncio.sleep(0.005)
        assert waits[0] > 0 and waits[2:8] == [0] * 6 and waits[8] > 0

    run(tmp_path, ask)


def test_a_head_that_comes_too_slowly_is_told_so(tmp_path: Path) -> None:
    async def ask(page: Page) -> None:
        begun = await page.send(HEAD)
        told = await begun.read()
        assert told.startswith(b"HTTP/1.1 408 ") and b"did not arrive in 0.3 seconds" in told

    run(tmp_path, ask, seconds=0.3)


@pytest.mark.parametrize("name", ["UNREAD_SECONDS", "MOST_UNREAD"])
def test_answers_that_nobody_reads_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All that stand still for long; or as many as leaves no more than may wait."""

    async def ask(page: Page) -> None:
        for _ in range(2):
            await page.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        while len(unread := [size for one in page.server.connections() if (size := one.unread())]) < 2:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.01)
        monkeypatch.setattr(worker, name, 0 if name == "UNREAD_SECONDS" else sum(unread) - 1)
        page.server.look_after_readers()
        await asyncio.sleep(0.01)
        assert len(page.server.connections()) == (0 if name == "UNREAD_SECONDS" else 1)

    run(tmp_path, ask)


def test_a_slow_reader_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_CONNECTIONS", 1)

    async def ask(page: Page) -> None:
        await page.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        while not page.server.connections()[0].unread():
            await asyncio.sleep(0.005)
        assert b'"label":"dandelion"' in await page.upload()

    run(tmp_path, ask)


def test_requests_are_sent_ahead_in_small_numbers(tmp_path: Path) -> None:
    async def ask(page: Page) -> None:
        few = await page.send(ASK * MOST_PIPELINED)
        for _ in range(MOST_PIPELINED):
            await few.readuntil(b'{"alive":true}')
        many, answers = await page.send(ASK * 5000), b""
        with contextlib.suppress(ConnectionResetError):  # What came after them was not read.
            answers = await many.read()
        assert answers.count(b"alive") <= 1 and len(page.server.connections()) == 1

    run(tmp_path, ask)


def test_chunks_are_not_many_and_small(tmp_path: Path) -> None:
    """Six connections with chunks of 5 bytes had all others wait for 1.5 s."""

    async def ask(page: Page) -> None:
        for size, least in ((5, 1), (1000, 2000)):
            await page.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            (connection,) = page.server.connections()
            for _ in range(2000):
                connection.data_received(b"%x\r\n%b\r\n" % (size, bytes(size)))
                if connection.transport.is_closing():
                    break
            assert least <= connection.chunks < 2 * MOST_CHUNKS + least
            assert connection.transport.is_closing() is (size == 5)
            page.clients[-1].transport.abort()
            while page.server.connections():
                await asyncio.sleep(0.005)

    run(tmp_path, ask)


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"])
def test_a_form_of_many_parts_is_refused_before_it_is_parsed(tmp_path: Path, kind: str) -> None:
    """Each `&` and each mark takes a microsecond: six connections had all others wait for 6 s."""

    async def ask(page: Page) -> None:
        body = b"\r\n--bx&&&&" * 10_000
        head = HEAD.replace(b"multipart/form-data; boundary=b", kind.encode())
        answer = await page.send(head + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body)
        told = await answer.readuntil(b"}}")
        assert told.startswith(b"HTTP/1.1 400 ")
        assert (b"upload-too-many" if "multipart" in kind else b"no-picture") in told

    run(tmp_path, ask)


def test_who_leaves_before_the_answer_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each one wrote two tracebacks into the log."""

    async def ask(page: Page) -> None:
        await page.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        (connection,) = page.server.connections()
        connection.transport.abort()
        connection.transport.write(b"x")
        while page.server.connections():
            await asyncio.sleep(0.005)

    run(tmp_path, ask, uvloop.new_event_loop)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_headers_are_few(tmp_path: Path) -> None:
    async def ask(page: Page) -> None:
        for count, status in ((MOST_HEADERS - 1, b"200"), (MOST_HEADERS, b"400")):
            answer = await page.send(ASK[:-2] + b"a: b\r\n" * count + b"\r\n")
            assert (await answer.readline()).startswith(b"HTTP/1.1 " + status)

    run(tmp_path, ask)


def test_what_is_left_of_a_refused_body_does_not_count_as_the_head_that_follows_it(tmp_path: Path) -> None:
    async def ask(page: Page) -> None:
        head = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (2 * MOST_FRAMING)
        answers = await page.send(head)
        (connection,) = page.server.connections()
        connection.data_received(bytes(2 * MOST_FRAMING) + ASK)
        told = b""
        while b"HTTP/1.1 200 " not in told:
            more = await answers.read(1000)
            assert more, told
            told += more
        assert told.startswith(b"HTTP/1.1 405 ")

    run(tmp_path, ask)


class Wire:
    """A transport, and what has been written to it each time."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self.transport, self.written = transport, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.transport.write(data)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What all connections write."""
    found: list[bytes] = []
    monkeypatch.setattr(
        connection,
        "Transport",
        lambda transport: Transport(Wire(transport, found)),  # type: ignore[arg-type]
    )
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_and_body_of_an_answer_leave_together(tmp_path: Path, written: list[bytes], method: str) -> None:
    async def ask(page: Page) -> None:
        reader = await page.send(ASK.replace(b"GET", method.encode()))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        if method == "GET":
            assert await reader.readexactly(14) == b'{"alive":true}'
        assert len(written) == 1

    run(tmp_path, ask)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_head_of_an_answer_is_as_uvicorn_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, kept: bool
) -> None:
    said = ASK.replace(b"GET", method.encode()).replace(b"\r\n\r\n", b"\r\nX-Request-ID: a\r\n\r\n")
    if not kept:
        said = said.replace(b"Host", b"Connection: close\r\nHost")
    heads = list[bytes]()
    quick = list[bytes]()
    lookup = cycle.written
    monkeypatch.setattr(cycle, "written", lambda *header: quick.append(header[0]) or lookup(*header))

    async def ask(page: Page) -> None:
        head = await (await page.send(said)).readuntil(b"\r\n\r\n")
        heads.append(re.sub(rb"date: [^\r]*", b"", head))

    run(tmp_path, ask)
    assert b"content-length" in quick
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", cycle.Cycle.__base__)
    run(tmp_path, ask)
    assert heads[0] == heads[1] and b"x-frame-options: DENY" in heads[0]
    assert (b"connection: close" in heads[0]) is not kept


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x\r\nb", b"c")])
def test_no_header_begins_another_one(tmp_path: Path, header: tuple[bytes, bytes]) -> None:
    async def forged(_: Request) -> Response:
        response = Response(b"x")
        response.raw_headers.append(header)
        return response

    async def ask(page: Page) -> None:
        page.server.config.app.router.routes.append(Route("/forged", forged))  # type: ignore[union-attr]
        reader = await page.send(ASK.replace(b"/healthz", b"/forged"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500") and b"b: c" not in head

    run(tmp_path, ask)


def test_what_an_answer_has_so_far_is_not_held_back(tmp_path: Path, written: list[bytes]) -> None:
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        await go_on.wait()
        yield b"two"

    async def streamed(_: Request) -> Response:
        return StreamingResponse(parts())

    async def ask(page: Page) -> None:
        page.server.config.app.router.routes.append(Route("/parts", streamed))  # type: ignore[union-attr]
        reader = await page.send(ASK.replace(b"/healthz", b"/parts"))
        await reader.readuntil(b"one")
        go_on.set()
        await reader.readuntil(b"0\r\n\r\n")
        assert len(written) == 3

    run(tmp_path, ask)


def test_who_asks_whether_to_go_on_is_told_at_once(tmp_path: Path) -> None:
    async def ask(page: Page) -> None:
        reader = await page.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        page.clients[-1].write(b"no form: ")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")

    run(tmp_path, ask)
