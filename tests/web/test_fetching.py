"""Addresses are hostile: none of them gets a connection to anything that is not public."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from greenr_luigi.web import fetching
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings
from tests import tiny_release

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
    "[2a00:1450::5efe:127.0.0.1]", "[::ffff:168.63.129.16]", "[64:ff9b::168.63.129.16]",
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


class Names(AbstractResolver):
    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host not in NAMES:
            raise OSError(f"no such name: {host}")
        turn = self.asked[host] = self.asked.get(host, -1) + 1
        found = NAMES[host][min(turn, len(NAMES[host]) - 1)]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family_of(one), proto=0, flags=0)
            for one in found
        ]

    async def close(self) -> None:
        pass


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


class Connected(Exception):
    """A connection would have been made."""


def attempt(address: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[str]:
    """Fetch an address; returns the refusal's code and the addresses that a socket was opened for."""
    opened: list[str] = []

    def guarded(self: fetching.PublicResolver, info: tuple[object, ...]) -> socket.socket:
        REAL(self, info).close()
        opened.append(str(info[4][0]))  # type: ignore[index]
        raise OSError("this test connects to nobody")

    monkeypatch.setattr(fetching.PublicResolver, "socket", guarded)

    async def fetch() -> str:
        chosen = Settings(store=None, fetch_seconds=5, **settings)  # type: ignore[arg-type]
        async with fetching.open_fetcher(chosen, Names()) as fetcher:
            try:
                await fetcher.fetch(address)
            except Problem as problem:
                return problem.code
        return "fetched"

    return [asyncio.run(fetch()), *opened]


@pytest.mark.parametrize("host", [*LITERALS, *NAMES])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_host_inside_is_connected_to(host: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = attempt(f"{scheme}://{host}/a.jpg", monkeypatch)
    if host == "rebinding.test":
        assert found == ["address-unreachable", PUBLIC]  # Resolved once, and connected to what was checked.
    else:
        assert found in (["address-refused"], ["address-unreachable"])


def test_the_test_itself_would_see_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt(f"http://{PUBLIC}/", monkeypatch) == ["address-unreachable", PUBLIC]
    allow = (ipaddress.ip_network("10.0.0.0/8"),)
    assert attempt("http://private.test/", monkeypatch, fetch_allow=allow) == [
        "address-unreachable",
        "10.1.2.3",
    ]


@pytest.mark.parametrize("address", WORDS)
def test_what_is_no_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = attempt(address, monkeypatch)
    assert found in (["address-refused"], ["address-unreachable"])


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt(f"http://{PUBLIC}/", monkeypatch, fetch=False) == ["address-disabled"]


REAL = fetching.PublicResolver.socket
HERE = (ipaddress.ip_network("127.0.0.3/32"),)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def host(talk: Talk) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.3, all of whose conversations are over when it ends."""
    talks = []

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await talk(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(whole, "127.0.0.3", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.gather(*(one for one in talks if one))


def served(answers: list[bytes], address: str = "/", stall: bool = False, **settings: object) -> bytes | str:
    """Fetch from a server that gives these answers in turn; it is allowed, nothing else on this machine is."""

    async def run() -> bytes | str:
        waiting = list(answers)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(waiting.pop(0))
            await writer.drain()
            if stall:
                await reader.read()

        async with host(talk) as port:
            chosen = {"fetch_ports": (80, 443, port), "fetch_allow": HERE, **settings}
            async with fetching.open_fetcher(Settings(store=None, **chosen), Names()) as fetcher:  # type: ignore[arg-type]
                try:
                    return await fetcher.fetch(f"http://127.0.0.3:{port}{address}")
                except Problem as problem:
                    return problem.code

    return asyncio.run(run())


def ok(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Connection: close", *headers, "", ""]).encode() + body


def to(where: str, status: int = 302) -> bytes:
    lines = [f"HTTP/1.1 {status} Found", f"Location: {where}", "Content-Length: 0", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_picture_comes_as_it_is() -> None:
    data = tiny_release.picture()
    assert served([ok(data, f"Content-Length: {len(data)}")]) == data
    assert served([to("/next"), to("/and-next", 307), ok(data)]) == data


@pytest.mark.parametrize("where", [*(f"http://{host}/" for host in [*LITERALS, *NAMES]), *WORDS[:5]])
def test_no_redirect_leads_inside(where: str) -> None:
    if "rebinding" in where:
        where = "http://private.test/"  # Its first look-up is public.
    found = served([to(where), ok(b"inside")])
    assert found in ("address-refused", "address-unreachable")


def test_too_many_redirects_and_one_without_a_place() -> None:
    assert served([to("/again")] * 5) == "address-refused"
    assert served([b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"] * 5) == "address-refused"


def test_what_is_too_much_or_packed_or_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 100_000)
    assert served([ok(b"", "Content-Length: 100001")]) == "picture-too-large"
    assert served([ok(b"0" * 200_000)]) == "picture-too-large"
    chunks = b"".join(b"2000\r\n" + b"0" * 0x2000 + b"\r\n" for _ in range(40))
    assert served([ok(chunks, "Transfer-Encoding: chunked")]) == "picture-too-large"
    assert served([ok(b"0", "Content-Encoding: gzip")]) == "address-unreachable"
    assert served([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]) == "address-unreachable"
    assert served([b"\x16\x03\x01 not http\r\n\r\n"]) == "address-unreachable"
    assert served([ok(b"short", "Content-Length: 500")]) == "address-unreachable"
    assert served([ok(b"", "X: " + "y" * 100_000)]) == "address-unreachable"


def test_one_deadline_for_all() -> None:
    assert served([ok(b"0", "Content-Length: 500")], stall=True, fetch_seconds=0.3) == "address-slow"


def test_no_more_than_a_few_at_a_time() -> None:
    async def run() -> list[str]:
        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with host(hold) as port:
            chosen = Settings(store=None, fetch_seconds=0.5, fetch_ports=(port,), fetch_allow=HERE)  # type: ignore[arg-type]
            async with fetching.open_fetcher(chosen, Names()) as fetcher:

                async def one() -> str:
                    try:
                        await fetcher.fetch(f"http://127.0.0.3:{port}/")
                    except Problem as problem:
                        return problem.code
                    return "fetched"

                return list(await asyncio.gather(*(one() for _ in range(fetching.AT_ONCE + 2))))

    assert sorted(asyncio.run(run())) == ["address-slow"] * fetching.AT_ONCE + ["busy"] * 2


def test_there_are_enough_of_them() -> None:
    assert len({*LITERALS, *NAMES, *WORDS}) >= 60
