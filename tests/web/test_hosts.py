"""Under a foreign name a visitor may look and ask, no more; who asks is what a named proxy says."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from greenr_luigi.web import app, hosts
from greenr_luigi.web.settings import Settings, networks
from tests import tiny_release
from tests.web.conftest import Live
from tests.web.test_app import inside

OURS = ("/readyz", "/metrics", "/feedback")
LOCAL = {"Host": "localhost"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("named")
    allowed = ("page.example", "192.0.2.7")
    proxies = networks("192.0.2.0/24")
    with inside(root, feedback=True, allowed_hosts=allowed, trusted_proxies=proxies) as client:
        yield client


def give(client: TestClient, headers: list[tuple[str, str]] | dict[str, str]) -> int:
    files = {"file": tiny_release.picture()}
    return client.post("/feedback", files=files, data={"label": "grass"}, headers=headers).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8008", "localhost.", "a.localhost:1", "127.0.0.1:8008", "127.8.8.8", "[::1]:8008",
     "[::ffff:127.0.0.1]", socket.gethostname(), f"{socket.gethostname().partition('.')[0].upper()}.local.:80",
     "page.example", "PAGE.example.:443", "192.0.2.7:80"],
)  # fmt: skip
def test_names_of_this_machine_and_those_allowed(page: TestClient, host: str) -> None:
    assert page.get("/readyz", headers={"Host": host}).status_code == 200
    assert give(page, {"Host": host, "Origin": f"http://{host}"}) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8008", "page.example.evil.example", "evilpage.example", "localhost.evil.example",
     "127.0.0.1.evil.example", "203.0.113.9", "0.0.0.0:8008", "[::]", "[2001:db8::1]:8008", "", ":8008", "[", "[::1",
     "localhost:8008:8008", "localhost:x", "localhost@evil.example", "evil.example@localhost", "localhost/x", "a b",
     "x" * 70_000, "localhost, evil.example", "127.1", "2130706433", "192.0.2.8"],
)  # fmt: skip
def test_under_another_a_visitor_may_look_and_ask_no_more(page: TestClient, host: str) -> None:
    given = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for path in OURS[:2]:
        refused = page.get(path, headers=given)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign-host")
    assert give(page, given) == 403
    for path in ("/", "/model", "/api/model", "/healthz", "/static/app.css"):
        assert page.get(path, headers=given).status_code == 200
    asked = page.post("/api/predict", files={"file": tiny_release.picture()}, headers=given)
    assert asked.status_code == 200


def test_what_to_add_is_said(page: TestClient) -> None:
    refused = page.get("/readyz", headers={"Host": "Photos.Example.org:8443"}).json()["error"]["message"]
    assert "allowed_hosts = photos.example.org under [server] in luigi.cfg" in refused
    assert "GREENR_ALLOWED_HOSTS=photos.example.org" in refused
    idna = page.get("/readyz", headers={"Host": "xn--bcher-kva.example"}).json()["error"]["message"]
    assert hosts.host_name("Bücher.example") == "xn--bcher-kva.example" and "xn--bcher-kva.example" in idna


def test_two_hosts_or_none_name_nothing(page: TestClient) -> None:
    assert hosts.requested(["localhost", "localhost"]) is hosts.requested([]) is None
    two = [("Host", "localhost"), ("Host", "evil.example")]
    assert page.get("/readyz", headers=two).status_code == give(page, two) == 403


@pytest.mark.parametrize("origin", ["null", "", "http://evil.example", "http://localhost:81"])
def test_an_own_name_is_not_enough_for_feedback(page: TestClient, origin: str) -> None:
    assert give(page, LOCAL | {"Origin": origin}) == 403
    assert give(page, {"Host": "", "Origin": "null"}) == 403


@pytest.mark.parametrize(
    "path", ["/model/", "/form/", "/api/", "//evil.example/", "//evil.example", "/static", "/readyz/",
             "/%2fevil.example/"],
)  # fmt: skip
def test_nothing_redirects_to_a_host(page: TestClient, path: str) -> None:
    answer = page.request("GET", f"http://evil.example{path}", headers={"X-Forwarded-Host": "evil.example"})
    assert answer.status_code == 404 and "location" not in answer.headers


def test_the_prefix_alone_is_the_page(tmp_path_factory: pytest.TempPathFactory) -> None:
    with inside(tmp_path_factory.mktemp("prefix"), root_path="/app") as client:
        for path in ("/app", "/app/"):
            assert 'action="/app/upload"' in client.get(path).text


@pytest.mark.parametrize(
    ("peer", "said", "who"),
    [("192.0.2.9", "198.51.100.3", "198.51.100.3"), ("::ffff:192.0.2.9", "198.51.100.3", "198.51.100.3"),
     ("192.0.2.9", "127.0.0.1, 198.51.100.3, 192.0.2.4", "198.51.100.3"),
     ("127.0.0.1", "198.51.100.3", "127.0.0.1"), ("203.0.113.5", "198.51.100.3", "203.0.113.5")],
)  # fmt: skip
def test_who_asks_is_what_a_named_proxy_says(
    page: TestClient, caplog: pytest.LogCaptureFixture, peer: str, said: str, who: str
) -> None:
    caplog.set_level("INFO", "greenr.access")
    with TestClient(page.app, client=(peer, 1234)) as client:
        client.get("/healthz", headers={"X-Forwarded-For": said, "X-Request-ID": "who"})
    assert re.search(rf"^who {re.escape(who)} GET", caplog.messages[-1])


def test_folders_are_told_on_this_machine_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("empty") / "releases"
    made = app.create(Settings(store=store))
    for peer, told in (("127.0.0.1", True), ("203.0.113.5", False)):
        with TestClient(made, client=(peer, 1)) as client:
            ready = client.get("/readyz", headers=LOCAL)
            assert ready.status_code == 503 and (str(store) in ready.text) is told


def test_over_a_real_connection(live: Live) -> None:
    """What the target names counts; what is said of other visitors or hosts does not."""
    for target, host, status in (
        ("/readyz", "localhost", 200),
        ("http://evil.example/readyz", "localhost", 403),
        ("http://localhost:1/readyz", "evil.example", 200),
        ("http://localhost@evil.example/readyz", "localhost", 403),
        ("/readyz", None, 403),
    ):
        with socket.create_connection(("127.0.0.1", live.server.port), timeout=30) as connection:
            lines = [f"GET {target} HTTP/1.0", "X-Forwarded-For: 198.51.100.3", "X-Forwarded-Host: localhost"]
            named = [f"Host: {host}"] if host else []
            connection.sendall("\r\n".join([*lines, *named, "X-Request-ID: real", "", ""]).encode())
            assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode()), (target, host)
    live.logged("real 127.0.0.1 GET '/readyz'")
