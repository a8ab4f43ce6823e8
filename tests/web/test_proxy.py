"""Behind a real nginx under a path prefix, with deploy/nginx.conf as it stands but for the port."""

import io
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
from PIL import Image

from greenr_luigi.serving import server
from tests import tiny_release

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    """The address of a classifier under /app of a real nginx."""
    root = tmp_path_factory.mktemp("behind a proxy")
    digest = tiny_release.deploy(root / "releases")
    running = tiny_release.serve(root, digest, workers=1, root_path="/app")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    location = (REPOSITORY / "deploy" / "nginx.conf").read_text()
    assert "127.0.0.1:8008" in location
    folder = tmp_path_factory.mktemp("nginx")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port};\n"
        f"{location.replace('127.0.0.1:8008', f'127.0.0.1:{running.port}')} }} }}\n"
    )
    nginx = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while True:
            try:
                requests.get(f"{address}/app/healthz", timeout=5)
                break
            except requests.ConnectionError:
                assert nginx.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield address
    finally:
        nginx.terminate()
        nginx.wait()
        server.stop(root / "server")


def picture():
    file = io.BytesIO()
    Image.new("RGB", (80, 80), "green").save(file, "PNG")
    return {"file": ("a.png", file.getvalue())}


def test_the_page_and_all_it_links_to_lie_under_the_prefix(proxied):
    moved = requests.get(f"{proxied}/app", allow_redirects=False, timeout=10)
    assert (moved.status_code, moved.headers["location"].removeprefix(proxied)) == (301, "/app/")
    page = requests.get(f"{proxied}/app/", timeout=10)
    assert page.status_code == 200
    links = [
        link
        for link in re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)
        if not link.startswith("data:")
    ]
    assert len(links) > 4
    assert [link for link in links if not link.startswith("/app/")] == []
    for link in {link for link in links if "static" in link}:
        assert requests.get(proxied + link, timeout=10).status_code == 200


def test_answers_with_and_without_a_page(proxied):
    answer = requests.post(f"{proxied}/app/api/predict", files=picture(), timeout=30)
    assert answer.status_code == 200
    assert set(answer.json()) >= {"label", "probabilities", "release"}
    page = requests.post(f"{proxied}/app/upload", files=picture(), timeout=30)
    assert page.status_code == 200
    assert answer.json()["label"] in page.text


def test_what_is_for_this_network_only_is_closed(proxied):
    for path in ("/app/metrics", "/app/readyz", "/app//metrics", "/app/%6detrics", "/app/x/../readyz"):
        assert requests.get(proxied + path, timeout=10).status_code == 403
    for path in (
        "/app/metrics%0a",
        "/app/readyz%0A",
        "/app/%0ametrics",
        "/app/app/metrics",
        "/app/app/readyz",
        "/app/app%2fmetrics",
    ):
        assert requests.get(proxied + path, timeout=10).status_code == 404
