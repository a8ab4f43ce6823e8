"""Whether a server answers with a release, and waiting until it does."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from greenr_luigi.serving import processes, releases, sockets
from greenr_luigi.serving.launch import log_end
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import ServerNote

#: Seconds for one question to our own server, and between two looks at a state that is waited for.
ASK_TIMEOUT = 2.0
POLL = 0.05


class NotReady(ServerError):
    """A server that has ended, or does not answer in time."""


@dataclass(frozen=True)
class Server:
    """A running server: the pids of its gunicorn and of the workers, which all answer with the release `digest`.
    `launch`: the name of its start. Of one that others run only `url` and `digest` are known."""

    url: str
    digest: str
    port: int = 0
    pid: int = 0
    workers: tuple[int, ...] = ()
    launch: str = ""


def not_ready(running: Running, digest: str) -> str | None:
    """Why a server does not answer with a release, in words; None if each worker says so and one answers with it."""
    states, wanted = running.workers, running.note.workers
    ready = sum(state.digest == digest for state in states)
    if not ready == len(states) == wanted:
        return f"{ready} of {wanted} workers serve release {digest}"
    answered = ask_release(running.note)
    return None if answered == digest else f"the server answers with release {answered}, not with {digest}"


def wait_for_release(run_dir: Path, digest: str, timeout: float) -> Server:
    """Wait until every worker of the running server answers with `digest`, as after a rollback.

    Raises ServerError when there is no server, the release is refused, or `timeout` seconds have passed.
    """
    found = processes.servers(run_dir)
    if not found:
        raise ServerError(f"no server runs in {run_dir}: deploy one")
    return wait_for_workers(run_dir, found[-1].note, digest, timeout)


def wait_for_workers(run_dir: Path, note: ServerNote, digest: str, timeout: float) -> Server:
    """Wait until the server that was started so is ready with `digest`. Raises NotReady if it ends or is not ready in
    time, and ServerError if a worker refuses the release."""
    deadline = time.monotonic() + timeout
    while True:
        running = find_started(run_dir, note)
        # A refusal of a release that has been published anew since says nothing of the new one.
        published = releases.identity(Path(note.store), digest)
        for state in running.workers:
            if (problem := state.problem) and (problem.digest, problem.seen) == (digest, published):
                raise ServerError(f"the server refuses the release: {problem.message}")
        cause = not_ready(running, digest)
        if cause is None:
            pids = tuple(state.pid for state in running.workers)
            return Server(url(note), digest, note.port, running.pid, pids, note.launch)
        if time.monotonic() > deadline:
            raise NotReady(
                f"{cause} after {timeout:g} seconds: look for what holds them{log_end(run_dir, note)}"
            )
        time.sleep(POLL)


def find_started(run_dir: Path, note: ServerNote) -> Running:
    """The server that was started so. Raises NotReady if it has ended."""
    # Looks again, since a daemon changes its pid when it starts, and that may be in the midst of a look.
    for running in chain.from_iterable(processes.servers(run_dir) for _ in range(2)):
        if running.note == note:
            return running
    raise NotReady(f"gunicorn ended{log_end(run_dir, note)}")


def url(note: ServerNote) -> str:
    """Where a server answers, for a browser on this machine."""
    return f"{sockets.url(note.host, note.port)}/"


def ask_release(note: ServerNote) -> str | None:
    """The release that one worker says it serves, or None; only ever asks this machine."""
    connection = http.client.HTTPConnection(
        sockets.on_this_machine(note.host), note.port, timeout=ASK_TIMEOUT
    )
    try:
        connection.request("GET", "/readyz")
        release = json.loads(connection.getresponse().read())["release"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return str(release) if release else None
