"""One real gunicorn for the web tests, and a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from greenr_luigi.serving import readiness, server
from tests import tiny_release


class Live:
    """A running server and a client that never takes a proxy from the environment."""

    def __init__(self, running: readiness.Server, root: Path) -> None:
        self.server = running
        self.root = root
        self.url = running.url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False
        self.answered = time.monotonic()

    def get(self, path: str, **more: object) -> requests.Response:
        return self.ask("GET", path, timeout=30, **more)

    def post(self, path: str, **more: object) -> requests.Response:
        return self.ask("POST", path, timeout=60, **more)

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        if time.monotonic() - self.answered > 2:
            # The server closes a connection that has been idle for 5 seconds, at worst while a request is on its way.
            self.session.close()
        response = self.session.request(method, self.url + path, **more)
        self.answered = time.monotonic()
        return response

    def log(self) -> str:
        return (self.root / "server" / "gunicorn.log").read_text()

    def logged(self, text: str) -> None:
        """Fails unless the log says this soon; an answer may arrive before its line is written."""
        deadline = time.monotonic() + 60
        while text not in self.log():
            assert time.monotonic() < deadline, f"not in the log: {text}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live server")
    digest = tiny_release.deploy(root / "releases")
    running = tiny_release.serve(root, digest, workers=2)
    here = Live(running, root)
    yield here
    here.session.close()
    server.stop(root / "server")
