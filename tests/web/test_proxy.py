"""Behind a real nginx, by what `greenr nginx` prints: the page under /app, luigid under /dashboard."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests
from PIL import Image

from greenr_luigi import cli
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import nginx
from greenr_luigi.serving import releases, server
from tests import tiny_release
from tests.serving.looking import until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
SECRET = ("anna", "open sesame")


@dataclass
class Front:
    address: str
    root: Path
    service: server.Service
    process: subprocess.Popen[bytes]
    folder: Path

    def log(self) -> str:
        return (self.root / "server" / "gunicorn.log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def whole(folder: Path, text: str) -> Path:
    """A file that nginx is started with, which has the printed one in it, and is no root's."""
    (folder / "greenr.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f'{kind}_temp_path "{folder}/{kind}";' for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f'{user} daemon off; worker_processes 2; pid "{folder}/pid"; events {{}}\n'
        f'http {{ access_log off; {temporary} include "{folder}/greenr.conf"; }}\n'
    )
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    root = tmp_path_factory.mktemp("behind a proxy")
    digest = tiny_release.deploy(root / "releases")
    service = server.Service(
        root / "releases",
        root / "server",
        port=free_port(),
        workers=2,
        root_path="/app",
        settings={
            "GREENR_ALLOWED_HOSTS": "example.org",
            "GREENR_TRUSTED_PROXIES": "127.0.0.1",
            "GREENR_FEEDBACK": "1",
        },
    )
    server.ensure(service, digest, 60)
    folder = tmp_path_factory.mktemp("nginx")
    port, dashboard = free_port(), free_port()
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", SECRET[1]], check=True, capture_output=True, text=True
    ).stdout
    (folder / "passwords").write_text(f"{SECRET[0]}:{hashed}")
    front = nginx.Front(listen=[f"127.0.0.1:{port}"], passwords=str(folder / "passwords"))
    conf = whole(folder, nginx.configuration(service, dashboard, front))
    luigid = [Path(sys.executable).with_name("luigid"), "--address=127.0.0.1", f"--port={dashboard}"]
    with contextlib.ExitStack() as ending:
        ending.callback(server.stop, root / "server")
        commands: list[list[str | Path]] = [
            [NGINX, "-c", conf, "-e", folder / "error.log"],
            [*luigid, f"--state-path={folder}/state"],
        ]
        processes = [
            ending.enter_context(
                subprocess.Popen(one, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            for one in commands
        ]
        for process in processes:
            ending.callback(process.terminate)
        until(lambda: answers(port) and answers(dashboard), 30)
        yield Front(f"http://127.0.0.1:{port}", root, service, processes[0], folder)


def get(url: str, **more: object) -> requests.Response:
    return requests.get(url, timeout=30, **more)  # type: ignore[arg-type]


def picture() -> dict[str, tuple[str, bytes]]:
    file = io.BytesIO()
    Image.new("RGB", (80, 80), "green").save(file, "PNG")
    return {"file": ("a.png", file.getvalue())}


@pytest.mark.slow
def test_the_page_and_all_it_links_to_lie_under_the_prefix(proxied: Front) -> None:
    moved = requests.get(f"{proxied.address}/app", allow_redirects=False, timeout=30)
    assert (moved.status_code, moved.headers["location"].removeprefix(proxied.address)) == (301, "/app/")
    page = requests.get(f"{proxied.address}/app/", timeout=30)
    assert page.status_code == 200
    links = [
        link
        for link in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)
        if not link.startswith("data:")
    ]
    assert len(links) > 4
    assert [link for link in links if not link.startswith("/app/")] == []
    for link in {link for link in links if "static" in link}:
        assert requests.get(proxied.address + link, timeout=30).status_code == 200


@pytest.mark.slow
def test_answers_with_and_without_a_page(proxied: Front) -> None:
    answer = requests.post(f"{proxied.address}/app/api/predict", files=picture(), timeout=30)
    assert answer.status_code == 200
    assert set(answer.json()) >= {"label", "probabilities", "release"}
    page = requests.post(f"{proxied.address}/app/upload", files=picture(), timeout=30)
    assert page.status_code == 200
    assert answer.json()["label"] in page.text


@pytest.mark.slow
def test_what_is_for_this_network_only_is_closed(proxied: Front) -> None:
    for path in ("/app/metrics", "/app/readyz", "/app//metrics", "/app/%6detrics", "/app/x/../readyz"):
        assert requests.get(proxied.address + path, timeout=30).status_code == 403
    for path in (
        "/app/metrics%0a",
        "/app/readyz%0A",
        "/app/%0ametrics",
        "/app/app/metrics",
        "/app/app/readyz",
        "/app/app%2fmetrics",
    ):
        assert requests.get(proxied.address + path, timeout=30).status_code == 404


@pytest.mark.slow
def test_the_dashboard_lets_in_who_knows_the_password(proxied: Front) -> None:
    page = proxied.address + "/dashboard/static/visualiser/index.html"
    for stranger in (None, (SECRET[0], "guessed"), ("otto", SECRET[1])):
        for path in ("/dashboard/", "/dashboard/api/task_list", "/dashboard/x/../api/graph", "//dashboard/"):
            assert get(proxied.address + path, auth=stranger).status_code == 401
        assert get(page, auth=stranger).status_code == 401
    assert "Luigi" in get(page, auth=SECRET).text
    assert get(proxied.address + "/dashboard/api/task_list?data={}", auth=SECRET).json() == {"response": {}}
    assert get(proxied.address + "/dashboard/metrics", auth=SECRET).status_code == 403
    moved = get(proxied.address + "/dashboard", allow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (301, "/dashboard/")


@pytest.mark.slow
def test_what_is_too_large_is_refused_in_words_and_answers_are_not_framed(proxied: Front) -> None:
    large = {"file": ("a.png", bytes(61 << 20))}
    refused = requests.post(proxied.address + "/app/api/predict", files=large, timeout=60)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (413, "upload-too-large") and "60 MB" in error["message"]
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    # Three of the largest pictures reach the page, which has words of its own for what is none.
    three = [("file", (f"{n}.png", bytes(20 << 20))) for n in range(3)]
    passed = requests.post(proxied.address + "/app/api/predict-batch", files=three, timeout=60)
    assert [one["error"]["code"] for one in passed.json()["answers"]] == ["picture-format"] * 3
    headers = get(proxied.address + "/app/").headers
    assert headers["X-Frame-Options"] == "DENY" and "default-src 'none'" in headers["Content-Security-Policy"]
    assert "/" not in headers["Server"]


@pytest.mark.slow
def test_the_page_is_told_who_asks_by_nginx_alone(proxied: Front) -> None:
    for sent in ("203.0.113.9", "203.0.113.9, 127.0.0.1"):
        assert get(proxied.address + "/app/model", headers={"X-Forwarded-For": sent}).status_code == 200
    until(lambda: proxied.log().count(" 127.0.0.1 GET '/app/model' 200") >= 2, 10)
    assert "203.0.113.9" not in proxied.log()


@pytest.mark.slow
def test_feedback_is_taken_from_the_own_page_under_an_allowed_name(proxied: Front) -> None:
    form = {"files": picture(), "data": {"label": "grass"}, "timeout": 30}
    own = {"Host": "example.org", "Origin": "http://example.org"}
    taken = requests.post(proxied.address + "/app/feedback", headers=own, **form)  # type: ignore[arg-type]
    assert taken.status_code == 200, taken.text
    for other in (
        {**own, "Origin": "http://evil.example"},
        {"Host": "e.example", "Origin": "http://e.example"},
    ):
        answer = requests.post(proxied.address + "/app/feedback", headers=other, **form)  # type: ignore[arg-type]
        assert answer.status_code == 403


@pytest.mark.slow
def test_who_is_slow_keeps_nobody_out(proxied: Front) -> None:
    """Uploads of one address that have begun and stand still take its own places, and nobody's at the page."""
    port = int(proxied.address.rpartition(":")[2])
    head = b"POST /app/api/predict HTTP/1.1\r\nHost: example.org\r\nContent-Length: 999999\r\n\r\n"
    with contextlib.ExitStack() as open_ones:
        for _ in range(nginx.AT_A_TIME):
            connection = open_ones.enter_context(
                socket.create_connection(("127.0.0.1", port), 30, ("127.0.0.2", 0))
            )
            connection.sendall(head + b"x")
        refused = until_refused(proxied)
        assert refused.json()["error"]["code"] == "too-often" and refused.headers["Retry-After"] == "1"
        assert get(proxied.address + "/app/").status_code == 200


class From(requests.adapters.HTTPAdapter):
    """A client at another address of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *positional: object, **more: object) -> None:
        super().init_poolmanager(*positional, source_address=(self.address, 0), **more)  # type: ignore[arg-type]


def until_refused(proxied: Front) -> requests.Response:
    """The first answer that is one; those that stand still are not yet all counted."""
    found: list[requests.Response] = []

    def refused() -> bool:
        with requests.Session() as same:
            same.mount("http://", From("127.0.0.2"))
            found.append(same.get(proxied.address + "/app/", timeout=30))
        return found[-1].status_code == 429

    until(refused, 10)
    return found[-1]


@pytest.mark.slow
def test_no_request_is_lost_while_release_server_and_nginx_are_replaced(proxied: Front) -> None:
    stop = threading.Event()
    seen: list[tuple[int, str]] = []
    lost: list[str] = []

    def ask() -> None:
        data = tiny_release.picture("yellow", 64)
        while not stop.is_set():
            try:
                url = proxied.address + "/app/api/predict"
                answer = requests.post(url, files={"file": data}, timeout=30)
                seen.append((answer.status_code, answer.json().get("release", "")))
            except (requests.RequestException, ValueError) as error:
                lost.append(repr(error))

    def go_on() -> None:
        count = len(seen) + 12
        until(lambda: len(seen) > count, 30)

    first, store = str(releases.current(proxied.root / "releases")), proxied.root / "releases"
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        go_on()
        second = tiny_release.deploy(store, 1)
        before = server.wait_for_release(proxied.root / "server", second, 30)
        go_on()
        other = replace(proxied.service, settings={**proxied.service.settings, "GREENR_BATCH": "3"})
        after = server.ensure(other, second, 60)
        assert after.pid != before.pid
        go_on()
        workers = children(proxied.process.pid)
        proxied.process.send_signal(signal.SIGHUP)
        until(lambda: not set(workers) & set(children(proxied.process.pid)), 30)
        go_on()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert lost == [] and {status for status, _ in seen} == {200}
    assert {digest for _, digest in seen} == {first, second}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_page_that_is_down_is_told_in_words(proxied: Front) -> None:
    here = nginx.Front(listen=[proxied.address.removeprefix("http://")])
    text = nginx.configuration(replace(proxied.service, port=free_port()), free_port(), here)
    elsewhere = free_port()
    folder = proxied.folder / "down"
    folder.mkdir()
    conf = whole(folder, text.replace(f"listen {here.listen[0]}", f"listen 127.0.0.1:{elsewhere}"))
    with subprocess.Popen(
        [NGINX, "-c", conf, "-e", folder / "error.log"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: answers(elsewhere), 20)
            answer = get(f"http://127.0.0.1:{elsewhere}/app/")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            # No file of passwords: closed to all.
            assert get(f"http://127.0.0.1:{elsewhere}/dashboard/", auth=SECRET).status_code == 403
        finally:
            process.terminate()


def service(folder: Path, **more: object) -> server.Service:
    return server.Service(folder / "releases", folder / "server", port=8008, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "front",
    [
        nginx.Front(),
        nginx.Front(names=["Example.org", "b\u00fccher.example", "::1"]),
        nginx.Front(allow="10.1.0.0/16, fd00::/8", dashboard="/luigi"),
    ],
)
@pytest.mark.parametrize(("host", "root_path"), [("127.0.0.1", "/app"), ("0.0.0.0", ""), ("::1", "/a.b/c")])
def test_nginx_takes_what_is_printed(tmp_path: Path, front: nginx.Front, host: str, root_path: str) -> None:
    made = service(tmp_path, host=host, root_path=root_path)
    text = nginx.configuration(made, 8082, front)
    assert text == nginx.configuration(made, 8082, front)
    checked = subprocess.run(
        [NGINX, "-t", "-c", whole(tmp_path, text), "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and "warn" not in checked.stderr, checked.stderr


def test_limits_and_addresses_are_the_servers_own(tmp_path: Path) -> None:
    settings = {"GREENR_BATCH": "1", "GREENR_ANSWER_SECONDS": "7.5", "GREENR_BODY_SECONDS": "3"}
    text = nginx.configuration(
        service(tmp_path, host="::1", settings=settings), 9000, nginx.Front(allow="10.1.2.3")
    )
    for line in (
        "proxy_pass http://[::1]:8008;",
        "proxy_pass http://127.0.0.1:9000/;",
        "proxy_read_timeout 13s;",
        "client_body_timeout 3s;",
        "client_max_body_size 21",
        "allow 10.1.2.3/32;\n        deny all;",
    ):
        assert line in text
    assert "auth_basic" not in text


def test_what_luigi_cfg_lacks_is_said(tmp_path: Path) -> None:
    front = nginx.Front(names=["Example.org"])
    assert nginx.lacking(service(tmp_path), front) == [
        "[server] trusted_proxies = 127.0.0.1",
        "[server] allowed_hosts = example.org",
    ]
    settings = {"GREENR_TRUSTED_PROXIES": "127.0.0.0/8", "GREENR_ALLOWED_HOSTS": "example.org"}
    assert nginx.lacking(service(tmp_path, settings=settings), front) == []


@pytest.mark.parametrize(
    "front",
    [
        nginx.Front(names=["a.example; evil"]),
        nginx.Front(listen=["80; return 200"]),
        nginx.Front(dashboard="/app"),
        nginx.Front(dashboard="/"),
        nginx.Front(dashboard="/a b"),
        nginx.Front(allow="all"),
        nginx.Front(passwords="$host"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, front: nginx.Front) -> None:
    with pytest.raises(GreenrError, match=r"expected|does not appear"):
        nginx.configuration(service(tmp_path, root_path="/app"), 8082, front)


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.main(["--root", str(tmp_path / "data"), "nginx", "--name", "example.org", "--listen", "8080"])
        == 0
    )
    said = capsys.readouterr()
    assert "listen 8080;" in said.out and "server_name example.org;" in said.out
    assert "set in luigi.cfg, and run DeployApp: [server] trusted_proxies = 127.0.0.1" in said.err
    assert not (tmp_path / "data").exists()
