"""What is seen of a server from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from greenr_luigi.serving import processes


def served(port: int) -> str | None:
    """The release that answers on a port of this machine; None if nothing does."""
    try:
        status, body = get(port, "/readyz")
    except OSError:
        return None
    return str(body["release"]) if status == 200 else None


def masters(place: Path) -> list[int]:
    """The pids of the running servers."""
    return [running.pid for running in processes.servers(place / "server")]


def kill(pid: int) -> None:
    """End a process by force, and wait until it is gone."""
    processes.kill(processes.Process(pid, *processes.origin(pid)), signal.SIGKILL, 10)


def ours(pid: int, place: Path) -> bool:
    return pid in [process.pid for process in processes.find(place / "server")]


def greenr(root: Path, *words: str, **how: Any) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "greenr_luigi.cli", "--root", str(root), *words]
    run = subprocess.run(command, capture_output=True, text=True, **how)
    return run.stdout + run.stderr


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds} seconds"
        time.sleep(0.02)


def get(port: int, path: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@contextlib.contextmanager
def visitor(*ports: int) -> Iterator[list[int]]:
    """What somebody is answered who asks on and on, at the first port that answers; 0 if none does."""
    statuses: list[int] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            for port in ports:
                try:
                    statuses.append(get(port, "/readyz")[0])
                    break
                except OSError:
                    continue
            else:
                statuses.append(0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join()
