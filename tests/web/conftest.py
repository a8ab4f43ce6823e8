"""One real gunicorn for the web tests, and a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from greenr_luigi.serving import server
from tests import tiny_release


class Live:
    """A running server and a client that never takes a proxy from the environment."""

    def __init__(self, running: server.Server, root: Path) -> None:
        self.server = running
        self.root = root
        self.url = running.url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False

    def get(self, path: str, **more: object) -> requests.Response:
        return self.session.get(self.url + path, timeout=30, **more)

    def post(self, path: str, **more: object) -> requests.Response:
        return self.session.post(self.url + path, timeout=60, **more)

    def log(self) -> str:
        return (self.root / "server" / "gunicorn.log").read_text()

    def logged(self, text: str) -> None:
        """Fails unless the log says this soon; an answer may arrive before its line is written."""
        deadline = time.monotonic() + 10
        while text not in self.log():
            assert time.monotonic() < deadline, f"not in the log: {text}"


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live server")
    digest = tiny_release.deploy(root / "releases")
    running = tiny_release.serve(root, digest, workers=2)
    here = Live(running, root)
    yield here
    here.session.close()
    server.stop(root / "server")
