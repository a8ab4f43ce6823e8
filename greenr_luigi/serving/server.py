"""Start, find and stop the gunicorn that serves a release store. It is a daemon, not a child of its caller.

    run_dir/gunicorn.pid, gunicorn.log    gunicorn's own
    run_dir/server.json                   how it was started: what a running server is compared with
    run_dir/workers/<pid>.json            what each worker says of itself (see web/classifier.py)
    run_dir/metrics-*/                    the workers' counters
    run_dir/loading-*.lock                held by a worker that loads a model while it serves
    run_dir/lock                          held while a server is started or stopped

A pid file proves nothing, since pids are used again: a process is ours when its environment names run_dir
(processes.py).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenr_luigi import files
from greenr_luigi.paths import PACKAGE
from greenr_luigi.serving import releases
from greenr_luigi.serving.launch import LOOK, ServerError, launch, tail
from greenr_luigi.serving.processes import end, locked, master, ours, sweep, told
from greenr_luigi.staleness import traces

#: Seconds for one question to our own server.
ASK = 2.0


@dataclass(frozen=True)
class Server:
    """A running server: every worker answers with release `digest`."""

    url: str
    host: str
    port: int
    pid: int
    workers: tuple[int, ...]
    digest: str
    log: Path
    #: Whether this call started it.
    started: bool


def ensure(
    store: Path,
    run_dir: Path,
    host: str,
    port: int,
    workers: int | None,
    digest: str,
    timeout: float,
    root_path: str = "",
) -> Server:
    """A server of this store on this address, all of whose workers answer with `digest`.

    Starts one if there is none, and a new one if it was started differently (address, workers, prefix,
    GREENR_* variables, code); the new one serves before the old one stops, and the old one serves on if the new one
    does not start. `workers`: one a core by default. `port` 0 takes a free one. `timeout` in seconds. Safe to call from
    two processes.

    Raises ServerError: address taken by another program, release refused, no answer in time.
    """
    store, run_dir = store.resolve(), run_dir.resolve()
    if releases.current(store) != digest:
        raise ServerError(
            f"{store} points to {releases.current(store)}, not to {digest}: point it there first"
        )
    wanted = {
        "store": str(store),
        "host": host,
        "port": port,
        "workers": workers or len(os.sched_getaffinity(0)),
        "root_path": root_path,
        "python": sys.executable,
        "code": code_digest(),
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith("GREENR_")
        },
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir):
        end(run_dir, "gunicorn.old.pid")  # Left by a caller that was killed between starting and stopping.
        pid = master(run_dir)
        noted = note(run_dir)
        if pid is not None and same(noted, wanted):
            return wait(run_dir, pid, digest, timeout, started=False)
        if pid is None:
            sweep(run_dir)
        else:
            (run_dir / "gunicorn.pid").replace(run_dir / "gunicorn.old.pid")
        beside = pid is not None and (noted.get("host"), noted.get("port")) == (host, port)
        try:
            server = start(run_dir, wanted, digest, timeout, beside)
        except ServerError:
            end(run_dir, "gunicorn.pid")
            if pid is not None:
                (run_dir / "gunicorn.old.pid").replace(run_dir / "gunicorn.pid")
                files.write(run_dir / "server.json", json.dumps(noted).encode())
            raise
        end(run_dir, "gunicorn.old.pid")
        return server


def serving(run_dir: Path, host: str, port: int) -> str | None:
    """The digest that all workers of our server on this address answer with, or None. Asks one of them."""
    run_dir = run_dir.resolve()
    pid, noted = master(run_dir), note(run_dir)
    if pid is None or noted.get("host") != host or port not in (0, noted.get("port")):
        return None
    states = told(run_dir, pid)
    digests = {state["digest"] for state in states}
    if len(states) != noted.get("workers") or len(digests) != 1:
        return None
    digest = digests.pop()
    return str(digest) if digest is not None and ask(host, noted["port"]) == digest else None


def settled(run_dir: Path, digest: str, timeout: float) -> Server:
    """Wait until every worker of the running server answers with `digest`, as after a rollback.

    Raises ServerError when there is no server, the release is refused, or `timeout` seconds have passed.
    """
    run_dir = run_dir.resolve()
    pid = master(run_dir)
    if pid is None:
        raise ServerError(f"no server runs in {run_dir}: deploy one")
    return wait(run_dir, pid, digest, timeout, started=False)


def stop(run_dir: Path) -> bool:
    """Stop the server, letting it finish the requests it holds; False when there was none."""
    run_dir = run_dir.resolve()
    if not run_dir.is_dir():
        return False
    with locked(run_dir):
        ended = [end(run_dir, name) for name in ("gunicorn.old.pid", "gunicorn.pid")]
        sweep(run_dir)
    return any(ended)


def start(run_dir: Path, wanted: dict[str, Any], digest: str, timeout: float, beside: bool) -> Server:
    """Launch a gunicorn and wait until each of its workers answers with the release. `beside`: on the address of our
    own server, which still serves."""
    deadline = time.monotonic() + timeout
    pid = launch(run_dir, wanted, timeout, beside)
    server = wait(run_dir, pid, digest, deadline - time.monotonic(), started=True)
    for metrics in run_dir.glob("metrics-*"):
        if metrics.name != note(run_dir)["metrics"]:
            shutil.rmtree(metrics, ignore_errors=True)
    return server


def wait(run_dir: Path, pid: int, digest: str, timeout: float, started: bool) -> Server:
    """Until each worker says that it serves `digest`, and one answers with it."""
    deadline = time.monotonic() + timeout
    noted = note(run_dir)
    store, host, port = Path(noted["store"]), str(noted["host"]), int(noted["port"])
    while True:
        states = told(run_dir, pid)
        for state in states:
            problem = state["problem"]
            # A refusal of a release that has been published anew since says nothing of the new one.
            if problem and [problem["digest"], problem["seen"]] == [digest, releases.seen(store, digest)]:
                raise ServerError(f"the server refuses the release: {problem['message']}")
        right = [state for state in states if state["digest"] == digest]
        if len(right) == len(states) == noted["workers"] and ask(host, port) == digest:
            pids = tuple(sorted(int(state["pid"]) for state in states))
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
            return Server(url, host, port, pid, pids, digest, run_dir / "gunicorn.log", started)
        if not ours(pid, run_dir):
            raise ServerError(f"gunicorn (pid {pid}) ended{tail(run_dir)}")
        if time.monotonic() > deadline:
            counts = f"{len(right)} of {noted['workers']} workers answer with release {digest}"
            raise ServerError(f"{counts} after {timeout:g} seconds: look for what holds them{tail(run_dir)}")
        select.select([], [], [], LOOK)


def ask(host: str, port: int) -> str | None:
    """The release that one worker says it serves, or None; only ever asks this machine."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    connection = http.client.HTTPConnection(local, port, timeout=ASK)
    try:
        connection.request("GET", "/readyz")
        release = json.loads(connection.getresponse().read())["release"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return str(release) if release else None


def note(run_dir: Path) -> dict[str, Any]:
    return files.read_json(run_dir / "server.json")


def same(noted: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(noted.get(name) == value or (name == "port" and value == 0) for name, value in wanted.items())


def code_digest() -> str:
    """Of the code, templates and assets that a server loads when it starts."""
    code = traces.code_digests(traces.sources("greenr_luigi.web", ["greenr_luigi.web"]))
    assets = [*sorted(PACKAGE.glob("templates/*")), *sorted(PACKAGE.glob("static/*"))]
    parts = [code[name]["syntax"] for name in sorted(code)] + [traces.file_sha256(path) for path in assets]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
