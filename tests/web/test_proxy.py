"""Behind a real nginx, by what `greenr nginx` prints: the page under /app, the dashboard under /dashboard."""

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

import luigi.configuration
import luigi.rpc
import pytest
import requests
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from greenr_luigi import cli, contracts, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations import dashboard, nginx
from greenr_luigi.serving import readiness, rollout, server
from greenr_luigi.serving.service import Service
from tests import tiny_release
from tests.serving.looking import until
from tests.web.browser import chromium

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
SECRET = ("anna", "open sesame")


@dataclass
class Front:
    address: str
    root: Path
    service: Service
    process: subprocess.Popen[bytes]
    folder: Path
    dashboard: str

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
        f"http {{ log_format asked '$host $status $request_uri'; access_log \"{folder}/access.log\" asked; "
        f'{temporary} include "{folder}/greenr.conf"; }}\n'
    )
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    root = tmp_path_factory.mktemp("behind a proxy")
    digest = tiny_release.deploy(root / "releases")
    service = Service(
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
    dashboard_at = f"http://127.0.0.1:{dashboard}"
    conf = whole(folder, nginx.configuration(service, dashboard_at, front))
    greenr = [sys.executable, "-m", "greenr_luigi.cli", "--root", root]
    environment = {
        **os.environ,
        "GREENR_ALLOWED_HOSTS": "example.org",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with contextlib.ExitStack() as ending:
        ending.callback(server.stop, root / "server")
        commands: list[list[str | Path]] = [
            [NGINX, "-c", conf, "-e", folder / "error.log"],
            [*greenr, "dashboard", "--stay", f"--port={dashboard}"],
        ]
        processes = [
            ending.enter_context(
                subprocess.Popen(one, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
            )
            for one in commands
        ]
        for process in processes:
            ending.callback(process.terminate)
        until(lambda: answers(port) and answers(dashboard))
        yield Front(f"http://127.0.0.1:{port}", root, service, processes[0], folder, dashboard_at)


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


#: A name for which a browser trusts nobody, and so says less than for localhost.
NAME = "example.org"
FLAGS = [f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]


@pytest.mark.slow
def test_in_a_browser_both_work_under_their_prefixes_and_ask_for_nothing_else(proxied: Front) -> None:
    luigid = luigi.rpc.RemoteScheduler(proxied.dashboard)
    luigid.add_task(worker="w", task_id="Train_1", family="Train", params={"a": "1"}, deps=["Split_1"])
    luigid.add_task(
        worker="w", task_id="Split_1", family="Split", params={}, runnable=True, tracking_url="../../runs/r1"
    )
    assert luigid.get_work(worker="w", host="here")["task_id"] == "Split_1"
    digest = str(rollout.current(proxied.root / "releases"))
    (proxied.root / "releases" / digest / "report.html").write_text("<p>The report.")
    log_name = "run-000001-20260101T000000Z-1.log"
    (proxied.root / "logs").mkdir(mode=0o700)
    (proxied.root / "logs" / log_name).write_text("what was said")
    for kind, name, summary in (("stage", "Split", {}), ("run", "Train", {"release": digest})):
        event = run_history.Event(
            kind=kind, name=name, outcome="made", seconds=1, run="r1", log=log_name, summary=summary
        )
        contracts.append_log(proxied.root / run_history.FILE, event)
    log = proxied.folder / "access.log"
    begins = len(log.read_text().splitlines())
    address = proxied.address.replace("127.0.0.1", NAME)
    with chromium(flags=FLAGS) as browser:
        wait = WebDriverWait(browser, 60)
        browser.get(f"{address}/app/")
        (proxied.folder / "a.png").write_bytes(picture()["file"][1])
        browser.find_element(By.ID, "file").send_keys(str(proxied.folder / "a.png"))
        wait.until(
            lambda b: "grass" in " ".join(e.text for e in b.find_elements(By.CSS_SELECTOR, "#answers h2"))
        )
        # From then on the browser knows the password.
        browser.get(f"{address.replace('//', '//anna:open%20sesame@')}/dashboard/runs")
        browser.get(f"{address}/dashboard/")
        names = "return [...document.querySelectorAll('#taskTable tbody td:nth-child(2)')].map(e => e.textContent)"
        wait.until(lambda b: {"Train", "Split"} <= {*b.execute_script(names)})
        stages = browser.current_url
        for tab, where in (
            ("graph&taskId=Train_1&visType=svg", "#graphContainer svg"),
            ("graph&taskId=Train_1&visType=d3", "#graphContainer svg"),
            ("workers", "#workerList"),
        ):
            browser.get("about:blank")
            browser.get(f"{stages}#tab={tab}")
            text = f"return (document.querySelector('{where}') || document.body.firstChild).textContent"
            wait.until(lambda b, text=text: "Split" in b.execute_script(text), tab)
        browser.get(f"{stages}#tab=workers")
        assert follow(browser, f"{address}/dashboard/", f"{address}/dashboard/runs") >= {
            "runs/r1",
            f"runs/log/{log_name}",
            f"runs/report/{digest}",
            "history",
            "history/by_id/1",
            "history/by_name/Train",
        }
        browser.get(f"{address}/dashboard/tasklist/Train")
        assert browser.current_url == f"{address}/dashboard/runs"
    asked = [line.split(" ", 2) for line in log.read_text().splitlines()[begins:]]
    assert {host for host, _, _ in asked} == {NAME}
    outside = [path for _, _, path in asked if not path.startswith(("/app/", "/dashboard/"))]
    assert (outside, [line for line in asked if line[1] not in ("200", "206", "302", "304", "401")]) == (
        [],
        [],
    )


def follow(browser: webdriver.Chrome, under: str, first: str) -> set[str]:
    """The addresses of all pages that lie under an address and that links lead to from the first."""
    found, left = set[str](), [first]
    links = "return [...document.querySelectorAll('a[href]')].map(a => a.href)"
    while left:
        browser.get(left.pop())
        found.add(browser.current_url.partition("#")[0].removeprefix(under))
        for link in browser.execute_script(links):
            assert link.startswith(under), f"{link} on {browser.current_url}"
            page = link.partition("#")[0]
            if page.removeprefix(under) not in found and page not in left:
                left.append(page)
    return found


@pytest.mark.slow
def test_the_dashboard_answers_by_the_names_of_this_machine_and_allowed_ones_alone(proxied: Front) -> None:
    """A page elsewhere can give its name the address of nginx (DNS rebinding), or have a browser ask there."""

    def status(path: str, method: str = "GET", **headers: str) -> int:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{proxied.address}/dashboard/{path}"
        return requests.request(method, url, headers=headers, auth=SECRET, timeout=30).status_code

    for name in ("127.0.0.1", "localhost:80", NAME, "anything.localhost", socket.gethostname()):
        assert status("runs", Host=name) == status("api/task_list?data={}", Host=name) == 200, name
    for name in ("evil.example", f"{NAME}.evil.example", "10.255.255.1", "127.0.0.1.evil.example"):
        assert status("runs", Host=name) == status("api/task_list?data={}", Host=name) == 403, name
    own, foreign = f"http://{NAME}", "http://evil.example"
    for asked, more, expected in (
        ("GET", {}, 403),
        ("GET", {"X_Requested_With": "XMLHttpRequest"}, 200),
        ("GET", {"Sec_Fetch_Site": "same-origin"}, 200),
        ("GET", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("POST", {}, 200),
        ("POST", {"Origin": own}, 200),
        ("POST", {"Origin": foreign}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": own, "Sec_Fetch_Site": "same-site"}, 403),
    ):
        assert status("api/unpause", asked, Host=NAME, **more) == expected, (asked, more)


@pytest.mark.slow
def test_what_is_too_large_is_refused_in_words_and_answers_are_not_framed(proxied: Front) -> None:
    large = {"file": ("a.png", bytes(61 << 20))}
    refused = requests.post(proxied.address + "/app/api/predict", files=large, timeout=60)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (413, "upload-too-large") and "60 MB" in error["message"]
    assert refused.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/dashboard/api/unpause", "/elsewhere", "/app/metrics"):
        refused = requests.post(proxied.address + path, data=bytes(2 << 20), auth=SECRET, timeout=60)
        assert refused.status_code == 413 and "at most 1 MB at once" in refused.json()["error"]["message"], (
            path
        )
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
    until(lambda: proxied.log().count(" 127.0.0.1 GET '/app/model' 200") >= 2)
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

    until(refused)
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
        until(lambda: len(seen) > count)

    first, store = str(rollout.current(proxied.root / "releases")), proxied.root / "releases"
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        go_on()
        second = tiny_release.deploy(store, 1)
        before = readiness.wait_for_release(proxied.root / "server", second, 30)
        go_on()
        other = replace(proxied.service, settings={**proxied.service.settings, "GREENR_BATCH": "3"})
        after = server.ensure(other, second, 60)
        assert after.pid != before.pid
        go_on()
        workers = children(proxied.process.pid)
        proxied.process.send_signal(signal.SIGHUP)
        until(lambda: not set(workers) & set(children(proxied.process.pid)))
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
    nowhere = f"http://127.0.0.1:{free_port()}"
    text = nginx.configuration(replace(proxied.service, port=free_port()), nowhere, here)
    elsewhere = free_port()
    folder = proxied.folder / "down"
    folder.mkdir()
    conf = whole(folder, text.replace(f"listen {here.listen[0]}", f"listen 127.0.0.1:{elsewhere}"))
    with subprocess.Popen(
        [NGINX, "-c", conf, "-e", folder / "error.log"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: answers(elsewhere))
            answer = get(f"http://127.0.0.1:{elsewhere}/app/")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
            # No file of passwords: closed to all.
            assert get(f"http://127.0.0.1:{elsewhere}/dashboard/", auth=SECRET).status_code == 403
        finally:
            process.terminate()


def service(folder: Path, **more: object) -> Service:
    return Service(folder / "releases", folder / "server", port=8008, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "front",
    [
        nginx.Front(),
        nginx.Front(names=["Example.org", "b\u00fccher.example", "::1"]),
        nginx.Front(allow="10.1.0.0/16, fd00::/8", dashboard="/luigi"),
        nginx.Front(resolver="127.0.0.11", dashboard="/a.b-c"),
        nginx.Front(resolver="fd00::1"),
        nginx.Front(listen=["80", "80"], dashboard="/application"),
    ],
)
@pytest.mark.parametrize(("host", "root_path"), [("127.0.0.1", "/app"), ("0.0.0.0", ""), ("::1", "/a.b/c")])
def test_nginx_takes_what_is_printed(tmp_path: Path, front: nginx.Front, host: str, root_path: str) -> None:
    made = service(tmp_path, host=host, root_path=root_path)
    text = nginx.configuration(made, "http://127.0.0.1:8082", front)
    assert text == nginx.configuration(made, "http://127.0.0.1:8082", front)
    checked = subprocess.run(
        [NGINX, "-t", "-c", whole(tmp_path, text), "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0 and "warn" not in checked.stderr, checked.stderr


def test_limits_and_addresses_are_the_servers_own(tmp_path: Path) -> None:
    settings = {"GREENR_BATCH": "1", "GREENR_ANSWER_SECONDS": "7.5", "GREENR_BODY_SECONDS": "3"}
    text = nginx.configuration(
        service(tmp_path, host="::1", settings=settings), "http://[::1]:9000", nginx.Front(allow="10.1.2.3")
    )
    for line in (
        "proxy_pass http://[::1]:8008;",
        "proxy_pass http://[::1]:9000/;",
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
        nginx.Front(listen=["99999"]),
        nginx.Front(listen=["127.0.0.1:0"]),
        nginx.Front(dashboard="/app"),
        nginx.Front(dashboard="/app/metrics"),
        nginx.Front(dashboard="/"),
        nginx.Front(dashboard="/a b"),
        nginx.Front(allow="all"),
        nginx.Front(passwords="$host"),
        nginx.Front(resolver="dns.example"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, front: nginx.Front) -> None:
    with pytest.raises(GreenrError, match=r"expected|does not appear"):
        nginx.configuration(service(tmp_path, root_path="/app"), "http://127.0.0.1:8082", front)


def test_a_page_within_the_dashboard_and_half_an_address_are_refused(tmp_path: Path) -> None:
    for root_path, at in (("/dashboard/metrics", "http://luigid:8082"), ("/app", "http://::1:8082")):
        with pytest.raises(GreenrError, match="expected"):
            nginx.configuration(service(tmp_path, root_path=root_path), at, nginx.Front())


def test_a_server_and_a_scheduler_elsewhere_are_looked_up_by_their_names(tmp_path: Path) -> None:
    made = service(tmp_path, root_path="/app", elsewhere="http://app:8008")
    text = nginx.configuration(made, "http://luigid:8082", nginx.Front(resolver="127.0.0.11"))
    for line in (
        "resolver 127.0.0.11 valid=1s;",
        "set $greenr_page http://app:8008;",
        "set $greenr_dashboard http://luigid:8082;",
        "location /app/ {",
    ):
        assert f" {line}\n" in text
    assert re.findall("proxy_pass (.*);", text) == ["$greenr_page", "$greenr_dashboard"]
    assert "proxy_pass http://app:8008;" in nginx.configuration(made, "http://luigid:8082", nginx.Front())
    assert nginx.lacking(made, nginx.Front()) == [], "what it trusts stands elsewhere"


@pytest.mark.slow
def test_with_a_resolver_both_have_the_same_addresses(proxied: Front) -> None:
    """The names of the test's own are addresses, so nobody is asked."""
    port = free_port()
    here = nginx.Front(
        listen=[f"127.0.0.1:{port}"], passwords=str(proxied.folder / "passwords"), resolver="127.0.0.1"
    )
    folder = proxied.folder / "resolver"
    folder.mkdir()
    conf = whole(folder, nginx.configuration(proxied.service, proxied.dashboard, here))
    with subprocess.Popen([NGINX, "-c", conf, "-e", folder / "error.log"]) as process:
        try:
            until(lambda: answers(port))
            for path in (
                "app",
                "app/",
                "app/model",
                "app/metrics",
                "app/metrics%0a",
                "app/%6detrics",
                "dashboard",
                "dashboard/",
                "dashboard/runs/",
                "dashboard/metrics",
                "dashboard/metrics%0a",
                "dashboard/runs%0a/x",
                "dashboard/history/by_name/a%2Fb%20c?x=y",
                "dashboard/api/task_list?data={}&x=%26",
                "dashboard/runs/log/..%2F..%2Fhistory.jsonl",
            ):
                one, other = (
                    get(f"{address}/{path}", auth=SECRET, allow_redirects=False)
                    for address in (proxied.address, f"http://127.0.0.1:{port}")
                )
                same = [(r.status_code, r.headers.get("location"), len(r.content)) for r in (one, other)]
                assert same[0] == same[1], path
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({}, "http://127.0.0.1:8082"),
        ({"dashboard": {"host": "0.0.0.0", "port": "8083"}}, "http://127.0.0.1:8083"),
        ({"dashboard": {"host": "::"}}, "http://[::1]:8082"),
        ({"core": {"scheduler_host": "luigid"}}, "http://luigid:8082"),
        ({"core": {"scheduler_port": "8084"}}, "http://localhost:8084"),
        ({"core": {"scheduler_url": "http://one.example:80/"}}, "http://one.example:80"),
    ],
)
def test_where_no_dashboard_runs_luigi_cfg_says_where_it_is(
    tmp_path: Path, written: dict[str, dict[str, str]], told: str
) -> None:
    config = luigi.configuration.get_config()
    dashboard.settings("tasks")
    before = {section: dict(config.items(section, raw=True)) for section in config.sections()}
    try:
        config.read_dict(written)
        assert dashboard.address(tmp_path, "tasks") == told
    finally:
        for section in written:
            config.remove_section(section)
            config.read_dict({section: before.get(section, {})})


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.main(["--root", str(tmp_path / "data"), "nginx", "--name", "example.org", "--listen", "8080"])
        == 0
    )
    said = capsys.readouterr()
    assert "listen 8080;" in said.out and "server_name example.org;" in said.out
    assert "set in luigi.cfg, run DeployApp, and start the dashboard anew: [server] trusted_" in said.err
    assert not (tmp_path / "data").exists()
