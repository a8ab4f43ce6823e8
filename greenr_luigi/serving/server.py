"""Start, find and stop the gunicorn that serves a release store. It is a daemon, not a child of its caller.

    run_dir/gunicorn.pid, gunicorn.log    gunicorn's own
    run_dir/server.json                   how it was started: what a running server is compared with
    run_dir/workers/<pid>.json            what each worker serves
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
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.about import PACKAGE
from greenr_luigi.contracts import ContractError
from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import processes, releases
from greenr_luigi.serving.launch import POLL, launch, log_end
from greenr_luigi.serving.processes import OLD_PID_FILE, PID_FILE, living_workers
from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import SERVER_NOTE, ServerNote
from greenr_luigi.staleness import code
from greenr_luigi.staleness.traces import file_sha256

#: Seconds for one question to our own server.
ASK_TIMEOUT = 2.0


@dataclass(frozen=True)
class Service:
    """What to serve, and where. `port`: 0 for a free one; `workers`: processes, 0 for one a core; `root_path`: the path
    under which a proxy mounts the page."""

    store: Path
    run_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 0
    root_path: str = ""

    def note(self) -> ServerNote:
        """What the server.json of such a server says, but for the folder of its counters."""
        return ServerNote(
            host=self.host,
            port=self.port,
            workers=self.workers or len(os.sched_getaffinity(0)),
            store=str(self.store.resolve()),
            root_path=self.root_path,
            python=sys.executable,
            code=code_digest(),
            environment={name: value for name, value in os.environ.items() if name.startswith("GREENR_")},
        )


@dataclass(frozen=True)
class Server:
    """A running server: the pids of its gunicorn and of the workers, which all answer with the release `digest`."""

    url: str
    port: int
    pid: int
    workers: tuple[int, ...]
    digest: str


def ensure(service: Service, digest: str, timeout: float) -> Server:
    """A server as described, all of whose workers answer with the release `digest`.

    Starts one if there is none, and a new one if it was started differently (address, workers, prefix, GREENR_*
    variables, code). The new one serves before the old one stops; if it does not start, the old one serves on.
    `timeout`: seconds to start, and for the workers to answer. Safe to call from two processes.

    Raises ServerError: address taken by another program, release refused, no answer in time.
    """
    run_dir = service.run_dir.resolve()
    if (pointed := releases.current(service.store)) != digest:
        raise ServerError(f"{service.store} points to {pointed}, not to {digest}: point it there first")
    wanted = service.note()
    run_dir.mkdir(parents=True, exist_ok=True)
    with processes.locked(run_dir):
        # Left by a caller that was killed between starting and stopping.
        processes.stop_gunicorn(run_dir, OLD_PID_FILE)
        pid, old = running(run_dir)
        if old is None:
            processes.stop_all(run_dir)
        elif old.satisfies(wanted):
            return wait_for_workers(run_dir, pid, old, digest, timeout)
        else:
            (run_dir / PID_FILE).replace(run_dir / OLD_PID_FILE)
        shared = old is not None and (old.host, old.port) == (wanted.host, wanted.port)
        try:
            pid, note = launch(run_dir, wanted, timeout, shared)
            server = wait_for_workers(run_dir, pid, note, digest, timeout)
        except (GreenrError, OSError):
            processes.stop_gunicorn(run_dir, PID_FILE)
            if old is not None:
                (run_dir / OLD_PID_FILE).replace(run_dir / PID_FILE)
                contracts.write(run_dir / SERVER_NOTE, old)
            raise
        processes.stop_gunicorn(run_dir, OLD_PID_FILE)
        for metrics in run_dir.glob("metrics-*"):
            if metrics.name != note.metrics:
                shutil.rmtree(metrics, ignore_errors=True)
        return server


def running(run_dir: Path) -> tuple[int, ServerNote | None]:
    """The pid of our gunicorn and how it was started; 0 and None if none runs, or none that says how."""
    pid = processes.master_pid(run_dir)
    try:
        return (0, None) if pid is None else (pid, contracts.read(run_dir / SERVER_NOTE, ServerNote))
    except (FileNotFoundError, ContractError):
        return 0, None


def served_release(run_dir: Path, host: str, port: int) -> str | None:
    """The digest that all workers of our server on this address answer with, or None. Asks one of them."""
    pid, note = running(run_dir)
    if note is None or note.host != host or port not in (0, note.port):
        return None
    digests = [state.digest for state in living_workers(run_dir, pid)]
    asked = ask_release(note) if len(digests) == note.workers else None
    return asked if {asked} == set(digests) else None


def wait_for_release(run_dir: Path, digest: str, timeout: float) -> Server:
    """Wait until every worker of the running server answers with `digest`, as after a rollback.

    Raises ServerError when there is no server, the release is refused, or `timeout` seconds have passed.
    """
    pid, note = running(run_dir)
    if note is None:
        raise ServerError(f"no server runs in {run_dir}: deploy one")
    return wait_for_workers(run_dir, pid, note, digest, timeout)


def wait_for_workers(run_dir: Path, pid: int, note: ServerNote, digest: str, timeout: float) -> Server:
    """Wait until each worker says that it serves `digest`, and one answers with it. Raises as `wait_for_release`."""
    deadline = time.monotonic() + timeout
    while True:
        states = living_workers(run_dir, pid)
        # A refusal of a release that has been published anew since says nothing of the new one.
        published = releases.identity(Path(note.store), digest)
        for problem in [state.problem for state in states if state.problem]:
            if (problem.digest, problem.seen) == (digest, published):
                raise ServerError(f"the server refuses the release: {problem.message}")
        ready = tuple(sorted(state.pid for state in states if state.digest == digest))
        if len(ready) == len(states) == note.workers and ask_release(note) == digest:
            host = f"[{note.host}]" if ":" in note.host else note.host
            return Server(f"http://{host}:{note.port}/", note.port, pid, ready, digest)
        if not processes.is_ours(pid, run_dir):
            raise ServerError(f"gunicorn (pid {pid}) ended{log_end(run_dir)}")
        if time.monotonic() > deadline:
            raise ServerError(
                f"{len(ready)} of {note.workers} workers answer with release {digest} after {timeout:g} seconds: "
                f"look for what holds them{log_end(run_dir)}"
            )
        time.sleep(POLL)


def stop(run_dir: Path) -> bool:
    """Stop the server, letting it finish the requests it holds; False when there was none."""
    if not run_dir.is_dir():
        return False
    with processes.locked(run_dir):
        return processes.stop_all(run_dir)


def ask_release(note: ServerNote) -> str | None:
    """The release that one worker says it serves, or None; only ever asks this machine."""
    local = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(note.host, note.host)
    connection = http.client.HTTPConnection(local, note.port, timeout=ASK_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        release = json.loads(connection.getresponse().read())["release"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return str(release) if release else None


def code_digest() -> str:
    """Of the code, templates and assets that a server loads when it starts."""
    sources = code.snapshot(code.sources("greenr_luigi.web", ["greenr_luigi.web"]))
    assets = [*sorted(PACKAGE.glob("templates/*")), *sorted(PACKAGE.glob("static/*"))]
    parts = [sources[name]["syntax"] for name in sorted(sources)] + [file_sha256(path) for path in assets]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
