"""An internet of our own on 127.0.0.1, reached as any internet behind a proxy is: through the environment."""

from __future__ import annotations

import contextlib
import io
import random
import ssl
import threading
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import luigi
import pytest
from PIL import Image

from greenr_luigi.sources import download, hosts
from greenr_luigi.staleness.stage import Stage

#: Signed by itself for the hosts that the tests play, and trusted by nobody else.
CERTIFICATE = Path(__file__).with_name("loopback.pem")

Query = dict[str, str]
#: Bytes, or a status with them, and more headers.
Answer = bytes | tuple[int, bytes] | tuple[int, bytes, Sequence[tuple[str, str]]]


class Internet:
    """Hosts by name, each a function from path and query to an answer; `asked` lists all addresses, in
    order, and `agents` as whom each host was asked."""

    def __init__(self) -> None:
        self.hosts: dict[str, Callable[[str, Query], Answer]] = {"pictures.example": self._picture}
        self.asked: list[str] = []
        self.agents = defaultdict[str, set[str]](set)

    def answer(self, url: str) -> tuple[int, bytes, Sequence[tuple[str, str]]]:
        self.asked.append(url)
        parts = urllib.parse.urlsplit(url)
        host = self.hosts.get(parts.hostname or "")
        found = host(parts.path, dict(urllib.parse.parse_qsl(parts.query))) if host else (404, b"")
        return (200, found, ()) if isinstance(found, bytes) else (*found, ())[:3]

    def _picture(self, path: str, query: Query) -> Answer:
        """/<number>.jpg; numbers from 1000 on are missing, from 2000 on no picture, from 3000 on too
        small."""
        number = int(path.strip("/").split(".")[0])
        if number >= 1000:
            return {1: (404, b"gone"), 2: b"<html>please log in</html>", 3: picture(number, 16)}[
                number // 1000
            ]
        return picture(number)


def picture(number: int, side: int = 64) -> bytes:
    """A picture of coloured blotches as JPEG; each number gives another that looks different."""
    rng = random.Random(number)
    image = Image.frombytes("RGB", (9, 9), rng.randbytes(243)).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextlib.contextmanager
def online(net: Internet) -> Iterator[dict[str, str]]:
    """The environment in which the internet is `net`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        base = ""

        def do_CONNECT(self) -> None:
            host = self.path.rpartition(":")[0]
            if host not in net.hosts:
                self.send_error(502, f"no host {host}")
                return
            self.send_response(200)
            self.end_headers()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = (
                self.connection.makefile("rb"),
                self.connection.makefile("wb", buffering=0),
            )
            self.base = f"https://{host}"
            self.close_connection = False

        def do_GET(self) -> None:
            net.agents[urllib.parse.urlsplit(self.base + self.path).hostname or ""].add(
                str(self.headers["User-Agent"])
            )
            status, body, headers = net.answer(self.base + self.path)
            self.send_response(status)
            for header in headers:
                self.send_header(*header)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def finish(self) -> None:
            super().finish()
            self.connection.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        #: Pictures are loaded many at a time; whose connection finds no place waits for seconds, and longer each time.
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        yield {**dict.fromkeys(names, address), "REQUESTS_CA_BUNDLE": str(CERTIFICATE)}
        server.shutdown()


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    net = Internet()
    # Nobody waits for a turn, or before the next try; who tests that makes Hosts of their own.
    monkeypatch.setattr(download, "Hosts", lambda a_second, *more: hosts.Hosts(0, *more))
    monkeypatch.setattr(hosts, "random", SimpleNamespace(uniform=lambda least, most: least))
    with online(net) as environment:
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield net


@pytest.fixture
def ran() -> Iterator[list[str]]:
    """The titles of stages that ran."""
    titles: list[str] = []

    @Stage.event_handler(luigi.Event.SUCCESS)  # type: ignore[untyped-decorator]
    def note(stage: Stage) -> None:
        if stage.did:
            titles.append(stage.title)

    yield titles
    Stage._event_callbacks[Stage][luigi.Event.SUCCESS].remove(note)
