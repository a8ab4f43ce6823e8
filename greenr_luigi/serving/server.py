"""Start, find and stop the gunicorn that serves a release store. It is a daemon, not a child of its caller.

Only its own user may look into it (privacy.py).

    run_dir/gunicorn.log          what gunicorn and its workers say; earlier ones are gunicorn.log.1 and so on
    run_dir/gunicorn.pid          for people, such as logrotate; nothing here reads it
    run_dir/workers/<pid>.json    what each worker serves
    run_dir/metrics-*/            the workers' counters, a folder a server
    run_dir/loading-*.lock        held by a worker that loads a model while it serves
    run_dir/lock                  held while a server is started or stopped
    run_dir/stopped               a person has stopped it, and nobody has started it since

How a server was started stands in the environment of its processes (processes.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from greenr_luigi import cores, files
from greenr_luigi.serving import elsewhere, processes, releases, rollout, sockets
from greenr_luigi.serving.launch import ASSETS, LAUNCH, LIBRARIES, WEB, launch, log_end
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import ServerNote, worker_files
from greenr_luigi.staleness import code, libraries, regular, traces

#: Seconds for one question to our own server, and between two looks at a state that is waited for.
ASK_TIMEOUT = 2.0
POLL = 0.05
#: Seconds to wait for another who starts or stops a server, which takes a few minutes at most.
PATIENCE = 600.0
PID_FILE, LOCK, STOPPED = "gunicorn.pid", "lock", "stopped"


class NotReady(ServerError):
    """A server that has ended, or does not answer in time."""


@dataclass(frozen=True)
class Service:
    """What to serve, and where. `port`: 0 for a free one; `workers`: processes, 0 for one a core; `root_path`: the path
    under which a proxy mounts the page; `settings`: texts for web.settings by variable; the environment goes before
    them. `elsewhere`: the address of a server of this store that others start and stop, which makes all but `store`
    theirs; empty where we do."""

    store: Path
    run_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 0
    root_path: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    elsewhere: str = ""

    def untold(self) -> str:
        """What is set, and not told to a server that others start, in words; empty if nothing is."""
        if not (self.elsewhere and self.settings):
            return ""
        return (
            f"[server] of luigi.cfg is not told to {self.elsewhere}, which others start: "
            f"give that {', '.join(sorted(self.settings))} in its own environment"
        )

    def note(self) -> ServerNote:
        """How such a server is started, but for what only a start tells: the port for 0, what it loads, its name."""
        settings = {
            **self.settings,
            **{name: value for name, value in os.environ.items() if name.startswith("GREENR_")},
            "GREENR_ROOT_PATH": self.root_path or None,
            "--web-workers": str(self.workers or "one a core"),
            "Python": f"{platform.python_version()} in {Path(sys.prefix).resolve()}",
        }
        workers = self.workers or cores.allowed()
        return ServerNote(self.host, self.port, workers, str(regular.real(self.store)), settings)


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


def ensure(service: Service, digest: str, timeout: float) -> Server:
    """A server as described, all of whose workers answer with the release `digest`.

    One that was started as described is taken. Otherwise a new one is started, which serves before the old one stops.
    If it does not come to serve, the old one serves on. Safe to call from two processes, and after a caller that was
    killed. One that others run is only waited for. `timeout`: seconds to start, and for the workers to answer.

    Raises ServerError: address taken by another program, release refused, no answer in time.
    """
    if service.run_dir.is_symlink():
        raise ServerError(
            f"{service.run_dir} is a link, and what a server writes would go elsewhere: remove it"
        )
    run_dir = regular.real(service.run_dir)
    if (pointed := rollout.current(service.store)) != digest:
        raise ServerError(f"{service.store} points to {pointed}, not to {digest}: point it there first")
    if service.elsewhere:
        elsewhere.wait(service.elsewhere, service.store, digest, timeout)
        return Server(f"{service.elsewhere}/", digest)
    wanted = service.note()
    # Before the folder is refused, which is that user's: this says what to do.
    processes.refuse_foreign(run_dir, processes.servers(run_dir))
    files.private_folder(run_dir)
    with _alone(run_dir), contextlib.ExitStack() as undo:
        found = processes.servers(run_dir)
        processes.refuse_foreign(run_dir, found)
        server = adopt(run_dir, found, wanted, digest, timeout)
        if server is None:
            # Whatever comes in between, Ctrl-C included, ends the new one and leaves those that were.
            undo.callback(processes.end, run_dir, keep=[running.note.launch for running in found])
            # Workers whose gunicorn was killed have the address, too, and 0 is one that does not say.
            shared = any(process.note.port in (0, wanted.port) for process in processes.find(run_dir))
            server = wait_for_workers(run_dir, launch(run_dir, wanted, timeout, shared), digest, timeout)
        files.write(run_dir / PID_FILE, f"{server.pid}\n".encode())
        files.make_private(run_dir / PID_FILE)
        undo.pop_all()
        (run_dir / STOPPED).unlink(missing_ok=True)
        processes.end(run_dir, keep=[server.launch])
        tidy(run_dir, server.launch)
        return server


def adopt(
    run_dir: Path, found: list[Running], wanted: ServerNote, digest: str, timeout: float
) -> Server | None:
    """The running server that was started as wanted, once its workers answer with the release; None if there is none,
    or it does not answer in time. Raises ServerError if it refuses the release."""
    for running in found:
        if difference(running, wanted) is None:
            with contextlib.suppress(NotReady):
                return wait_for_workers(run_dir, running.note, digest, timeout)
    return None


def tidy(run_dir: Path, launch: str) -> None:
    """Remove what other servers have left, which all have ended."""
    for metrics in run_dir.glob("metrics-*"):
        if LAUNCH.fullmatch(metrics.name) and metrics.name != launch:
            shutil.rmtree(metrics, ignore_errors=True)
    # Listed before the processes: a worker that starts meanwhile keeps its file.
    states = worker_files(run_dir)
    living = {process.pid for process in processes.find(run_dir)}
    for path in states:
        if int(path.stem) not in living:
            path.unlink(missing_ok=True)


def not_as_wanted(service: Service, digest: str) -> str | None:
    """What of our running server is not as described, in words; None if all is, and it answers with the release."""
    if service.elsewhere:
        return elsewhere.not_ready(service.elsewhere, digest)
    found = processes.servers(service.run_dir)
    if not found:
        return f"no server of ours answers on {service.host}:{service.port}"
    wanted = service.note()
    causes = (difference(running, wanted) or not_ready(running, digest) for running in found)
    return next(filter(None, causes), None)


def difference(running: Running, wanted: ServerNote) -> str | None:
    """Why a running server must be replaced by one that is started as wanted, in words; None if it need not be."""
    note = running.note
    if running.user is not None:
        return f"the server (process {running.pid}) belongs to user {running.user}"
    if not note.launch:
        return "the server does not say how it was started: it is of an earlier version"
    if not running.at_home or not same_folder(note.store, wanted.store):
        return "the server's folder was moved, or deleted under it"
    versions = libraries.versions({*note.versions, *LIBRARIES})
    recorded, now = (
        {"--host": one.host, "--port": wanted.port and one.port, **one.settings, **loaded}
        for one, loaded in ((note, note.versions), (wanted, versions))
    )
    cause = traces.entries_changed("the server's", recorded, now) or code.changed(note.code, [WEB])
    for name, folder in ASSETS.items():
        cause = cause or traces.files_changed(name, note.assets.get(name), folder)
    return cause


def same_folder(one: str, other: str) -> bool:
    """Whether two paths lead to one folder, perhaps by a mount."""
    with contextlib.suppress(OSError):
        return Path(one).samefile(other)
    return False


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


def stop(run_dir: Path, for_now: bool = False) -> bool:
    """Stop the server, letting it finish the requests that it holds; False when there was none. Unless `for_now`, it
    stays so until somebody starts one. Raises ServerError for one of another user."""
    with _alone(run_dir):
        stopped = processes.end(run_dir)
        if run_dir.is_dir() and not for_now:
            (run_dir / STOPPED).touch(0o600)
        for path in [*worker_files(run_dir), run_dir / PID_FILE]:
            path.unlink(missing_ok=True)
        return stopped


def wait_for_end(run_dir: Path) -> bool:
    """Wait until no server of ours runs, also none that takes another's place. Returns whether one has ended that no
    person has stopped."""
    ran = False
    while True:
        for running in processes.servers(run_dir):
            ran = True
            processes.wait(running)
        # Whoever has ended it may be about to start another, or to say that it stays stopped.
        with _alone(run_dir):
            if not processes.servers(run_dir):
                return ran and not stays_stopped(run_dir)


def _alone(run_dir: Path) -> contextlib.AbstractContextManager[None]:
    """While nobody else starts or stops a server there."""
    return files.locked(run_dir / LOCK, patience=PATIENCE) if run_dir.is_dir() else contextlib.nullcontext()


def stays_stopped(run_dir: Path) -> bool:
    return (run_dir / STOPPED).exists()


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
