"""Addresses are hostile, to the web classifier and to the crawl: none of them gets a connection to anything that is not
public, nor more bytes or seconds than it may cost."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult

from greenr_luigi import background, guarded_http, public_network
from greenr_luigi.sources import download
from greenr_luigi.sources.source import Unavailable
from greenr_luigi.text import Network
from greenr_luigi.web import fetching
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings

PUBLIC = "93.184.216.34"
#: Names that the test's resolver knows, with the addresses of each look-up in turn.
NAMES = {
    "loopback.test": [["127.0.0.1"]],
    "loopback6.test": [["::1"]],
    "private.test": [["10.1.2.3"]],
    "metadata.test": [["169.254.169.254"]],
    "both.test": [[PUBLIC, "127.0.0.1"]],
    "both-reversed.test": [["192.168.1.1", PUBLIC]],
    "both-families.test": [[PUBLIC, "fd00::1"]],
    "mapped.test": [["::ffff:10.0.0.1"]],
    "nat64.test": [["64:ff9b::7f00:1"]],
    "rebinding.test": [[PUBLIC], ["127.0.0.1"]],
    "localhost": [["127.0.0.1"]],
    "0x7f.1": [["127.0.0.1"]],
    "0177.0.0.1": [["127.0.0.1"]],
    "2130706433": [["127.0.0.1"]],
    "127.1": [["127.0.0.1"]],
    "0x7f000001": [["127.0.0.1"]],
    "017700000001": [["127.0.0.1"]],
    "localtest.test.": [["127.0.0.1"]],
}
#: Every encoding of loopback, private, link-local and metadata addresses, and what packs them.
LITERALS = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255",
    "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "169.254.0.1", "169.254.169.254",
    "169.254.170.2", "100.64.0.1", "100.100.100.200", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::10.0.0.1]", "[2002:7f00:1::]",
    "[2002:a00:1::1]", "[2002:a9fe:a9fe::]", "[2002:c0a8:101::1]", "[2001:0:7f00:1::]",
    "[2001:0:5db8:d822:0:0:80ff:fffe]", "[2001:db8::1]", "[fc00::1]", "[fd00::1]", "[fd00:ec2::254]",
    "[fe80::1]", "[fe80::1%25lo]", "[fec0::1]", "[ff02::1]", "[ff05::1:3]", "[100::1]", "[5f00::1]",
    "[2a00:1450::5efe:127.0.0.1]", "192.88.99.1", "[3fff::1]", "[::ffff:168.63.129.16]", "[64:ff9b::168.63.129.16]",
]  # fmt: skip
#: What is no address to ask at all.
WORDS = [
    "file:///etc/passwd", "ftp://example.test/a.jpg", "gopher://example.test/", "data:image/png;base64,AAAA",
    "javascript:alert(1)", "//example.test/a.jpg", "example.test/a.jpg", "http://", "http:///a.jpg", "",
    "http://user@example.test/", "http://user:word@example.test/", "http://example.test@127.0.0.1/",
    "http://:@x.test/",
    "http://example.test:22/", "http://example.test:99999/", "http://example.test:6379/",
    "http://exa mple.test/",
    "http://[::1/", "http://example.test/" + "a" * 3000, "http://\x00.test/", "https:example.test",
    "http://127.0.0.1\\@example.test/", "http://example.test#@127.0.0.1:22/", "unix:///var/run/docker.sock",
]  # fmt: skip


HERE = (ipaddress.ip_network("127.0.0.3/32"),)
REFUSED, UNREACHABLE, SLOW, TOO_LARGE = (
    "address-refused",
    "address-unreachable",
    "address-slow",
    "picture-too-large",
)
#: What the crawl says, in the words of the page's refusals.
REASONS = {"address": REFUSED, "inside": REFUSED, "slow": SLOW, "too-large": TOO_LARGE}

Outcome = bytes | str
User = Callable[..., Outcome]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def web(address: str, allow: tuple[Network, ...] = (), seconds: float = 5, port: int = 80) -> Outcome:
    settings = Settings(Path(), fetch_seconds=seconds, fetch_allow=allow, fetch_ports=(80, 443, port))
    try:
        return asyncio.run(fetching.Fetcher(settings).fetch(address))
    except Problem as problem:
        return problem.code


def crawl(address: str, allow: tuple[Network, ...] = (), seconds: float = 5, port: int = 80) -> Outcome:
    try:
        return download.fetch(download.Session(allow=allow, seconds=seconds, retries=0), address)
    except Unavailable as why:
        return REASONS.get(why.reason, UNREACHABLE)


both = pytest.mark.parametrize("user", [web, crawl])


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look-ups are answered from NAMES, and no proxy is in the environment."""
    asked: dict[str, int] = {}

    def look_up(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host not in NAMES:
            raise socket.gaierror(f"no such name: {host}")
        turn = asked[host] = asked.get(host, -1) + 1
        found = NAMES[host][min(turn, len(NAMES[host]) - 1)]
        return [(family_of(one), socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a socket was opened for; none is connected to."""
    real, opened = public_network.PublicResolver.socket, list[str]()

    def guarded(self: public_network.PublicResolver, info: tuple[object, ...]) -> socket.socket:
        real(self, info).close()
        opened.append(str(info[4][0]))  # type: ignore[index]
        raise OSError("this test connects to nobody")

    monkeypatch.setattr(public_network.PublicResolver, "socket", guarded)
    return opened


@both
@pytest.mark.parametrize("host", [*LITERALS, *NAMES])
def test_no_host_inside_is_connected_to(host: str, user: User, opened: list[str]) -> None:
    for scheme in ("http", "https"):
        outcome = user(f"{scheme}://{host}/a.jpg")
        if host == "rebinding.test" and scheme == "http":
            # Resolved once, and connected to what was checked.
            assert (outcome, opened) == (UNREACHABLE, [PUBLIC])
            opened.clear()
        else:
            assert outcome in (REFUSED, UNREACHABLE) and not opened


@both
def test_the_test_itself_would_see_a_connection(user: User, opened: list[str]) -> None:
    assert user(f"http://{PUBLIC}/") == UNREACHABLE
    assert user("http://private.test/", (ipaddress.ip_network("10.0.0.0/8"),)) == UNREACHABLE
    assert opened == [PUBLIC, "10.1.2.3"]


@both
@pytest.mark.parametrize("address", WORDS)
def test_what_is_no_address(address: str, user: User, opened: list[str]) -> None:
    assert user(address) in (REFUSED, UNREACHABLE) and not opened


def test_there_are_enough_of_them() -> None:
    assert len({*LITERALS, *NAMES, *WORDS}) >= 60


def test_switched_off() -> None:
    with pytest.raises(Problem, match="switched off"):
        asyncio.run(fetching.Fetcher(Settings(Path(), fetch=False)).fetch(f"http://{PUBLIC}/"))


def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.3:1")
    with pytest.raises(Unavailable, match="a proxy by socks5 is not used: name one"):
        download.fetch(download.Session(), f"https://{PUBLIC}/")


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:secret@[::1",
        "me:secret@127.0.0.3:99999",
        "http://me:se#secret@127.0.0.3:1",
        "http://me:se/secret@127.0.0.3:1",
        "http://me:secret@",
        "http://me:secret@127.0.0.3:0",
    ],
)
def test_a_proxy_that_is_no_address_is_told_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(
        Unavailable, match="the proxy that the environment names for https is no address"
    ) as why:
        download.fetch(download.Session(), f"https://{PUBLIC}/")
    assert "secret" not in str(why.value)


class Host:
    """A server on 127.0.0.3 in a thread, which is the only address here that may be fetched from."""

    def __init__(self, talk: Talk) -> None:
        self.talk, self.ended = talk, threading.Event()
        self.heads: list[bytes] = []
        self.port = 0

    def fetch(self, user: User, address: str = "/", seconds: float = 30) -> Outcome:
        """What a user gets; the server sees its connections end then."""
        ready = threading.Event()
        thread = threading.Thread(target=asyncio.run, args=(self._serve(ready),))
        thread.start()
        ready.wait()
        try:
            return user(f"http://127.0.0.3:{self.port}{address}", HERE, seconds, self.port)
        finally:
            self.ended.set()
            thread.join()

    async def _serve(self, ready: threading.Event) -> None:
        talks: list[asyncio.Task[None] | None] = []

        async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.append(asyncio.current_task())
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self.talk(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        listening = await asyncio.start_server(whole, "127.0.0.3", 0)
        async with listening:
            self.port = listening.sockets[0].getsockname()[1]
            ready.set()
            while not self.ended.is_set():
                await asyncio.sleep(0.01)
            async with asyncio.timeout(30):
                await asyncio.gather(*(one for one in talks if one))


def answering(*answers: bytes) -> Host:
    """A server that gives these answers in turn."""
    waiting = list(answers)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(waiting.pop(0))
        await writer.drain()

    return Host(talk)


def repeating(start: bytes, again: bytes, every: float = 0) -> Host:
    """A server that sends `start`, and then `again` without end."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(every)

    return Host(talk)


def ok(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode() + body


def to(where: str, status: int = 302) -> bytes:
    lines = [f"HTTP/1.1 {status} Found", f"Location: {where}", "Content-Length: 0", "Connection: close"]
    return "\r\n".join([*lines, "Set-Cookie: a=b", "", ""]).encode()


@both
def test_a_picture_comes_as_it_is(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for without name, password and cookies, and unpacked."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.3 login me password secret\ndefault login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    data = os.urandom(3_000_000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[:9], data[9:])) + b"0\r\n\r\n"
    host = answering(to("/next"), to("/and-next", 307), ok(chunks, "Transfer-Encoding: chunked"))
    assert host.fetch(user) == data
    assert answering(ok(data, f"Content-Length: {len(data)}")).fetch(user) == data
    heads = [head.lower() for head in host.heads]
    assert all(b"accept-encoding: identity" in head for head in heads)
    assert not any(word in head for word in (b"authorization", b"cookie") for head in heads)


@both
def test_no_redirect_leads_inside(user: User) -> None:
    for where in [*(f"http://{host}/" for host in [*LITERALS[::4], *[*NAMES][::3]]), *WORDS[:5]]:
        assert answering(to(where), ok(b"inside")).fetch(user) in (REFUSED, UNREACHABLE)


@both
def test_too_many_redirects_and_one_without_a_place(user: User) -> None:
    assert answering(*[to("/again")] * 5).fetch(user) == REFUSED
    assert answering(*[b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"] * 5).fetch(user) == REFUSED


@both
def test_what_is_too_much_or_packed_or_not_there(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fetching, download):
        monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    chunks = b"".join(b"2000\r\n" + b"0" * 0x2000 + b"\r\n" for _ in range(40))
    for answer, outcome in (
        (ok(b"", "Content-Length: 100001"), TOO_LARGE),
        (ok(b"0" * 200_000), TOO_LARGE),
        (ok(chunks, "Transfer-Encoding: chunked"), TOO_LARGE),
        (ok(b"0", "Content-Encoding: gzip"), UNREACHABLE),
        (ok(b"0", "Content-Encoding: identity, br"), UNREACHABLE),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", UNREACHABLE),
        (b"\x16\x03\x01 not http\r\n\r\n", UNREACHABLE),
        (ok(b"short", "Content-Length: 500"), UNREACHABLE),
        (ok(b"", "X: " + "y" * 100_000), UNREACHABLE),
    ):
        assert answering(answer).fetch(user) == outcome


@both
@pytest.mark.parametrize("end", [b"no length\r\n", b"3\r\nabcd\r\n"])
def test_a_body_that_is_torn_is_not_waited_for(end: bytes, user: User) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"4\r\nhalf\r\n", "Transfer-Encoding: chunked"))
        await writer.drain()
        # So that it does not come with the head.
        await asyncio.sleep(0.1)
        writer.write(end)
        await reader.read()

    assert Host(talk).fetch(user, seconds=2) == UNREACHABLE


HEAD, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@both
@pytest.mark.parametrize(
    ("start", "again"),
    [
        (ok(b"", "Content-Length: 500"), b"0"),
        (HEAD, b"y"),
        (HEAD, b"X: y\r\n"),
        (b"", CONTINUE),
        (to("/")[:-2], b"X: y\r\n"),
    ],
    ids=["body", "header", "headers", "continue", "redirect"],
)
def test_one_deadline_ends_what_drips(start: bytes, again: bytes, user: User) -> None:
    """`fetch` of the test's host waits until the connection is closed."""
    began = time.monotonic()
    assert repeating(start, again, 0.02).fetch(user, seconds=0.2) == SLOW
    assert time.monotonic() - began < 60


@both
@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", CONTINUE * 10_000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n" + b"X: y\r\n" * 100 + b"\r\n"),
        (HEAD + b"X: ", b"y" * 100_000),
        (HEAD, b"X: y\r\n" * 1000),
        (b"HTTP/1.1 200 ", b"y" * 100_000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"X: y\r\n" * 1000),
        (CHUNKED + b"1;", b"y" * 100_000),
        (CHUNKED, b"1\r\nx\r\n" * 10_000),
    ],
    ids=["continue", "hints", "header", "headers", "status", "trailers", "extension", "chunks"],
)
def test_what_comes_without_end_is_not_read(
    start: bytes, again: bytes, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fetching, download):
        monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    host = repeating(start, again)
    assert host.fetch(user) in (UNREACHABLE, TOO_LARGE)


@both
def test_a_picture_in_chunks_of_a_byte_each_is_not_read_to_its_end(user: User) -> None:
    """Of 20 MB so, each fetch took 3.5 s of a core."""
    assert (
        answering(ok(b"1\r\nx\r\n" * 150_000 + b"0\r\n\r\n", "Transfer-Encoding: chunked")).fetch(user)
        == UNREACHABLE
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 \xff\x1b]0;mine\x07\xe2\x80\xae\r\n\r\n",
        ok(b"", "Content-Encoding: \x1b]0;mine"),
        b"HTTP/1.1 200 OK\r\n\xff\x1b\r\n\r\n",
        to("http://\x9b31m/"),
    ],
)
def test_what_a_host_says_can_be_shown_and_stored(answer: bytes) -> None:
    """A byte that is no character ended the crawl when the refusals were written. Nor does a refusal tell an address,
    which may hold a key."""

    def ask(address: str, *_: object) -> str:
        rules = guarded_http.Rules(9, 5, {}, ports=range(1, 2**16), allow=HERE)
        with pytest.raises(guarded_http.Unfetched) as why:
            asyncio.run(guarded_http.fetch(address, rules))
        return str(why.value)

    said = answering(answer).fetch(ask, "/?api_key=secret")
    assert isinstance(said, str) and said.isprintable() and "secret" not in said


def test_where_no_thread_is_to_be_had_a_look_up_fails_and_no_place_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(public_network.LOOK_UPS + 1):
        with pytest.raises(OSError, match="can't start new thread"):
            asyncio.run(public_network.SystemResolver().resolve("private.test"))
    with pytest.raises(Unavailable, match="can't start new thread"):
        download.fetch(download.Session(retries=0), "http://private.test/")


@both
def test_the_body_of_a_redirect_is_not_read(user: User) -> None:
    """Nor unpacked; the server sees the connection end."""
    host = repeating(to("/").replace(b"Length: 0", b"Length: 99999999999"), b"0" * 100_000)
    assert host.fetch(user) == REFUSED


@both
def test_a_slow_name_holds_nothing_up(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    real, given_up = socket.getaddrinfo, threading.Event()

    def look_up(host: str, *args: int, **more: int) -> object:
        if host == "slow.test":
            given_up.wait(10)
        return real(host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    slow = [background.in_thread(user, "http://slow.test/", seconds=0.3) for _ in range(8)]
    assert user("http://private.test/", seconds=0.2) == REFUSED
    assert {one.result() for one in slow} == {SLOW}
    given_up.set()


def test_more_names_than_are_looked_up_at_a_time_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_network.SystemResolver, "_free", threading.BoundedSemaphore(2))

    async def run() -> list[list[ResolveResult]]:
        resolver = public_network.SystemResolver()
        return await asyncio.gather(*(resolver.resolve("private.test") for _ in range(20)))

    assert all(asyncio.run(run()))


def test_a_look_up_that_is_given_up_before_it_begins_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where threads are many, one may begin late."""
    begun = list[Future[object]]()

    def in_thread(*args: object, **more: object) -> Future[object]:
        begun.append(Future())
        return begun[-1]

    monkeypatch.setattr(public_network, "in_thread", in_thread)

    async def given_up() -> None:
        async with asyncio.timeout(0.001):
            await public_network.SystemResolver().resolve("private.test")

    free = threading.BoundedSemaphore(2)
    monkeypatch.setattr(public_network.SystemResolver, "_free", free)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(given_up(), 5))
    assert all(one.cancelled() for one in begun) and len(begun) == 3


def test_no_more_than_a_few_at_a_time() -> None:
    async def run(port: int) -> list[str]:
        settings = Settings(Path(), fetch_seconds=0.5, fetch_ports=(port,), fetch_allow=HERE)
        fetcher = fetching.Fetcher(settings)

        async def one() -> str:
            with pytest.raises(Problem) as problem:
                await fetcher.fetch(f"http://127.0.0.3:{port}/")
            return problem.value.code

        return list(await asyncio.gather(*(one() for _ in range(fetching.AT_ONCE + 2))))

    with socket.create_server(("127.0.0.3", 0)) as silent:
        outcomes = asyncio.run(run(silent.getsockname()[1]))
    assert sorted(outcomes) == [SLOW] * fetching.AT_ONCE + ["busy"] * 2


@both
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:10.0.0.1]", "169.254.169.254."]
)
def test_a_proxy_is_asked_for_no_number_inside(
    host: str, user: User, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What names lead to is the proxy's affair: the crawl takes one from the environment, as in many companies."""
    with socket.create_server(("127.0.0.3", 0)) as proxy:
        proxy.settimeout(0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.3:{proxy.getsockname()[1]}")
        assert user(f"http://{host}/") in (REFUSED, UNREACHABLE)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert not opened
