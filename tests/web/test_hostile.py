"""What strangers send: bombs, slow and endless senders, wrong lengths, noise. Never a 500, never a worker lost."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from greenr_luigi.pictures import door
from greenr_luigi.serving import server
from tests import tiny_release
from tests.pictures.test_bombs import slow
from tests.pictures.test_door import bombs
from tests.serving.looking import until
from tests.web.conftest import Live

pytestmark = pytest.mark.slow

#: Fuzzed uploads; GREENR_TEST_FUZZED=10000 sends more.
FUZZED = int(os.environ.get("GREENR_TEST_FUZZED", "400"))
#: Megabytes that all workers together may grow by.
GROWTH = 350


def resident(live: Live) -> float:
    """Megabytes of all workers."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in live.server.workers)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with short deadlines."""
    root = tmp_path_factory.mktemp("patient")
    digest = tiny_release.deploy(root / "releases")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GREENR_BODY_SECONDS", "1")
        patch.setenv("GREENR_HEADER_SECONDS", "2")
        running = tiny_release.serve(root, digest, workers=1)
    found = Live(running, root)
    yield found
    found.session.close()
    server.stop(root / "server")


@pytest.fixture(autouse=True)
def same_workers(live: Live) -> Iterator[None]:
    """Whatever a test sends, the workers are the same afterwards, answer, and no trace is in the log."""
    yield
    workers = {state["pid"] for state in live.get("/readyz").json()["workers"]}
    assert workers == set(live.server.workers)
    assert live.post("/api/predict", files={"file": tiny_release.picture()}).status_code == 200
    assert "Traceback" not in live.log()


def test_bombs(live: Live) -> None:
    before = resident(live)
    for name, data in (bombs() | slow()).items():
        for path in ("/api/predict", "/upload"):
            response = live.post(path, files={"file": (name, data)})
            assert response.status_code in (413, 415, 422), (name, response.status_code)
    assert resident(live) - before < GROWTH


def test_the_largest_pictures_that_are_allowed(live: Live) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    made = []
    for kind, mode, how in [
        ("PNG", "RGB", {}), ("JPEG", "RGB", {}), ("WEBP", "RGB", {"method": 0}), ("PNG", "RGBA", {"exif": turned}),
    ]:  # fmt: skip
        buffer = io.BytesIO()
        side = 6_080 if mode == "RGBA" else int(door.MAX_PIXELS_OF.get(kind, door.MAX_PIXELS) ** 0.5)
        Image.new(mode, (side, side), "yellow").save(buffer, kind, **how)
        made.append(buffer.getvalue())
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), 60_000, np.uint16)).save(buffer, "PNG")
    deep = buffer.getvalue()
    before = resident(live)
    with Watch(live) as watch, ThreadPoolExecutor(12) as crowd:
        for data in made:
            assert live.post("/api/predict", files={"file": data}).json()["label"] == "dandelion"
        # A page draws each picture beside its answer: that counts too, however many ask.
        for response in crowd.map(lambda data: live.post("/upload", files={"file": data}), [*made, deep] * 2):
            assert response.status_code in (200, 503)
    assert watch.most - before < 2 * GROWTH


class From(requests.adapters.HTTPAdapter):
    """Connections from an address of this machine's own network."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **more)


def counted(live: Live) -> float:
    """Pictures that have been looked at."""
    lines = live.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("greenr_pictures_total{"))


def test_a_batch_of_one_visitor_keeps_no_other_waiting(patient: Live) -> None:
    """Two connections with 8 slow pictures each, and 4 more with one: another visitor is answered after one of them."""
    buffer = io.BytesIO()
    Image.new("RGBA", (2_000, 2_000), "yellow").save(buffer, "PNG", compress_level=1)
    slow_one = buffer.getvalue()
    answered = dict[str, float]()

    def ask(who: str, path: str, *pictures: bytes) -> requests.Response:
        with requests.Session() as visitor:
            visitor.trust_env = False
            visitor.mount("http://", From(who))
            response = visitor.post(patient.url + path, files=[("file", one) for one in pictures], timeout=60)
        answered[who] = time.monotonic()
        return response

    before = counted(patient)
    with ThreadPoolExecutor(6) as crowd:
        asked = [crowd.submit(ask, "127.0.0.2", "/api/predict-batch", *[slow_one] * 8) for _ in range(2)]
        asked += [crowd.submit(ask, "127.0.0.2", "/api/predict", slow_one) for _ in range(4)]
        # They have come: what is measured is the wait behind them.
        until(lambda: counted(patient) >= before + 2)
        began = time.monotonic()
        assert ask("127.0.0.3", "/api/predict", tiny_release.picture()).status_code == 200
        statuses = [one.result().status_code for one in asked]
    # Behind all others it would have waited as long as they did.
    waited, crowd_took = answered["127.0.0.3"] - began, answered["127.0.0.2"] - began
    assert waited < crowd_took / 2, (waited, crowd_took)
    assert set(statuses) <= {200, 503}


class Watch(threading.Thread):
    """Notes the most that all workers take together."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.live, self.most, self.done = live, 0.0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, resident(self.live))

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()


def say(live: Live, *parts: bytes, timeout: float = 30) -> bytes:
    """Send raw bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", live.server.port), timeout=timeout) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def head(length: object, *more: str, path: str = "/api/predict") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: multipart/form-data; boundary=b",
        "Connection: close",
    ]
    lines += [f"Content-Length: {length}"] if length is not None else ["Transfer-Encoding: chunked"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def form(data: bytes, name: str = "file", boundary: str = "b") -> bytes:
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    return start.encode() + data + f"\r\n--{boundary}--\r\n".encode()


def test_a_slow_sender_is_told_so(patient: Live) -> None:
    body = form(tiny_release.picture())
    began = time.monotonic()
    received = say(patient, head(len(body)), body[:100])
    assert received.startswith(b"HTTP/1.1 408") and b"upload-slow" in received
    assert time.monotonic() - began < 60


def test_a_sender_that_never_ends_is_cut_off(patient: Live) -> None:
    before = resident(patient)
    block = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    sent = 0
    start = form(b"").split(b"\r\n--b--")[0]
    with socket.create_connection(("127.0.0.1", patient.server.port), timeout=30) as connection:
        connection.sendall(head(None) + b"%x\r\n" % len(start) + start + b"\r\n")
        connection.settimeout(0.2)
        received = b""
        # Either the body's size or its time is over first.
        while not received:
            with contextlib.suppress(TimeoutError):
                sent += connection.send(block[sent % len(block) :])
                received = connection.recv(1000) if sent > door.MAX_BYTES else b""
            with contextlib.suppress(TimeoutError):
                received = received or (connection.recv(1000) if sent > door.MAX_BYTES else b"")
    assert received.startswith((b"HTTP/1.1 413", b"HTTP/1.1 408"))
    assert resident(patient) - before < 150


def test_headers_that_never_end_are_cut_off(patient: Live) -> None:
    began = time.monotonic()
    received = say(patient, b"GET / HTTP/1.1\r\nHost: x\r\nX: ", timeout=60)
    assert not received.startswith(b"HTTP/1.1 200")
    assert 1 < time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"a: b\r\n" * 10_000),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: ", b"b" * 60_000),
        (b"GET /", b"a" * 60_000),
        (head(None) + b"0\r\n", b"a: b\r\n" * 10_000),
        (head(None) + b"0\r\na: ", b"b" * 60_000),
        (head(None) + b"1", b";a" * 30_000),
    ],
    ids=["headers", "a header", "a path", "trailers", "a trailer", "an extension"],
)
def test_what_frames_a_request_is_cut_off_before_it_fills_memory(
    patient: Live, start: bytes, part: bytes
) -> None:
    before, sent = resident(patient), 0
    with socket.create_connection(("127.0.0.1", patient.server.port), timeout=30) as connection:
        connection.sendall(start)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while sent < 100 * 2**20:
                sent += connection.send(part)
    assert sent < 100 * 2**20 and resident(patient) - before < 30


def test_a_large_head_that_is_no_larger_than_it_may_be(patient: Live) -> None:
    line = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + b"a" * 60_000 + b"\r\n\r\n"
    assert say(patient, line).startswith(b"HTTP/1.1 200")


def test_idle_connections_make_room(live: Live) -> None:
    """More than a worker holds, that say nothing: who comes after them is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:  # As most shells have it, for this end of the connections.
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    with contextlib.ExitStack() as open_ones:
        for _ in range(1_300):
            address = ("127.0.0.1", live.server.port)
            open_ones.enter_context(socket.create_connection(address, timeout=30))
        with requests.Session() as visitor:
            visitor.trust_env = False
            for _ in range(5):
                response = visitor.get(live.url + "/healthz", timeout=10)
                assert response.json() == {"alive": True} and "Content-Security-Policy" in response.headers
    assert "no connection can be taken" not in live.log()


def test_uploads_that_stand_still_keep_nobody_out(live: Live) -> None:
    """What is only claimed takes no room."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(20):
            address = ("127.0.0.1", live.server.port)
            visitor = open_ones.enter_context(socket.create_connection(address, timeout=30))
            visitor.sendall(head(door.MAX_BYTES) + b"--b")
        for _ in range(4):
            assert live.post("/api/predict", files={"file": tiny_release.picture()}).status_code == 200


@pytest.mark.parametrize(
    "charset", ["undefined", "punycode", "unicode_escape", "utf-7", "idna", '"rot13"', "x"]
)
@pytest.mark.parametrize("path", ["/api/predict", "/api/predict-batch", "/upload"])
def test_a_form_is_utf_8_whatever_it_says(live: Live, path: str, charset: str) -> None:
    body = form(tiny_release.picture()).replace(b'filename="a"', b'filename="\\ud800+2AA-\xff"')
    lines = head(len(body), path=path).replace(b"boundary=b", f"boundary=b; charset={charset}".encode())
    assert say(live, lines, body).startswith(b"HTTP/1.1 200")


def test_the_log_cannot_be_forged_or_filled(live: Live) -> None:
    forged = '1.1.1.1 GET "/admin" 200 pwned'
    live.get("/healthz", headers={"X-Forwarded-For": forged})
    live.get("/" + "a" * 5_000, headers={"X-Request-ID": "long-path"})
    live.logged("long-path ")
    assert "pwned" not in live.log() and "a" * 300 not in live.log()


@pytest.mark.parametrize(
    ("length", "status"),
    [
        *((length, b"400") for length in (0, 10, -1, "x", "1e3", 99**20)),
        (5_000, b"408"),
        *((length, b"413") for length in (21 * 2**20, 2**40)),
    ],
)
def test_wrong_lengths(patient: Live, length: object, status: bytes) -> None:
    received = say(patient, head(length), form(tiny_release.picture()))
    # A reset of the connection, with what was not read, may overtake the answer.
    assert received.startswith(b"HTTP/1.1 " + status) or not received


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--b--\r\n", b"--b\r\n\r\n", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
        form(b"x", boundary="other"), form(b"x", name='"; filename="..%2f'), b"\0" * 5000,
        b"--b\r\n" + b"A" * 100_000, b"--b\r\nContent-Disposition: form-data; name=file; filename=" + b"a" * 50_000,
        form(tiny_release.picture(), name="other"), form(b"0" * 70_000, name="label").replace(b'; filename="a"', b""),
    ],
)  # fmt: skip
def test_malformed_forms(live: Live, body: bytes) -> None:
    for path in ("/api/predict", "/api/predict-batch", "/upload", "/feedback"):
        received = say(live, head(len(body), path=path), body)
        assert received.startswith(b"HTTP/1.1 4"), received[:200]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        *(
            (b"GET " + path, b"404")
            for path in (
                b"/../../etc/passwd",
                b"/static/../../setup.cfg",
                b"/static/%2e%2e/%2e%2e/setup.cfg",
                b"/static//etc/passwd",
                b"/model/pictures/..%2f..%2fmodel.json",
                b"/model/pictures/%00",
                b"/%ff%fe",
                b"/metrics%0a",
                b"/readyz%0A",
                b"/%0a",
            )
        ),
        (b"BREW /", b"400"),
        (b"GET /classify-url?url=%00", b"400"),
        (b"GET /model?label=%00&predicted=%ff", b"200"),
    ],
)
def test_hostile_paths(live: Live, line: bytes, status: bytes) -> None:
    received = say(live, line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 " + status)
    assert b"root:" not in received and b"[options]" not in received and b'"classes"' not in received


def test_noise(live: Live) -> None:
    """Damaged pictures of every format: a refusal or an answer, the workers live, memory stays bounded."""
    chance = random.Random(1)
    parts = [tiny_release.picture("green", 96, kind) for kind in door.FORMATS]
    before, seen = resident(live), set()
    for _ in range(FUZZED):
        data = bytearray(chance.choice(parts))
        for _ in range(chance.randrange(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = chance.randrange(len(data)) if chance.random() < 0.3 else len(data)
        response = live.post("/api/predict", files={"file": bytes(data[:cut])})
        seen.add(response.status_code)
    assert seen <= {200, 400, 413, 415, 422} and 200 in seen and 422 in seen
    assert resident(live) - before < GROWTH


def test_more_than_it_can_answer_is_told_to_come_again(live: Live) -> None:
    """A crowd gets answers or a prompt 503 with Retry-After, and nothing else."""
    data = tiny_release.picture("yellow", 3000, "PNG")
    found: list[tuple[int, str | None]] = []

    def one() -> None:
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(live.url + "/api/predict", files={"file": data}, timeout=60)
            found.append((response.status_code, response.headers.get("Retry-After")))

    crowd = [threading.Thread(target=one) for _ in range(60)]
    for visitor in crowd:
        visitor.start()
    for visitor in crowd:
        visitor.join()
    assert set(found) == {(200, None), (503, "1")}


def test_no_upload_is_kept(live: Live) -> None:
    data = tiny_release.picture("green", 777, "PNG") + b"a mark of this test"
    assert live.post("/upload", files={"file": data}).status_code == 200
    kept = [
        path
        for path in live.root.rglob("*")
        if path.is_file() and b"a mark of this test" in path.read_bytes()
    ]
    assert kept == [] and not (live.root / "feedback").exists()
    response = live.post("/feedback", files={"file": data}, data={"label": "grass"})
    assert response.status_code == 403 and response.json()["error"]["code"] == "feedback-off"


@pytest.mark.parametrize("_", range(5))
def test_kept_connections_are_shared_between_the_workers(live: Live, _: int) -> None:
    """A crowd that arrives at once does not all end up with one worker, as it does with libuv's accept."""
    before = {pid: sockets_of(pid) for pid in live.server.workers}
    with contextlib.ExitStack() as open_ones:
        address = ("127.0.0.1", live.server.port)
        crowd = [open_ones.enter_context(socket.create_connection(address, timeout=30)) for _ in range(12)]
        for visitor in crowd:
            visitor.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for visitor in crowd:
            assert visitor.recv(1000).startswith(b"HTTP/1.1 200")
        held = [sockets_of(pid) - before[pid] for pid in live.server.workers]
    assert min(held) >= 3, held


def sockets_of(pid: int) -> int:
    """The open sockets of a process."""
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(path.readlink()).startswith("socket:")
    return found
