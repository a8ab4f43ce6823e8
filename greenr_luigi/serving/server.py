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
import errno
import shutil
from pathlib import Path

from greenr_luigi import files, shared_files
from greenr_luigi.serving import elsewhere, processes, rollout
from greenr_luigi.serving.launch import LAUNCH, launch
from greenr_luigi.serving.processes import Running
from greenr_luigi.serving.readiness import NotReady, Server, not_ready, wait_for_workers
from greenr_luigi.serving.service import Service, difference
from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import ServerNote, worker_files
from greenr_luigi.staleness import regular

#: Seconds to wait for another who starts or stops a server, which takes a few minutes at most.
PATIENCE = 600.0
PID_FILE, LOCK, STOPPED = "gunicorn.pid", "lock", "stopped"


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
            living = processes.find(run_dir)
            shared = any(process.note.port in (0, wanted.port) for process in living)
            if not living:
                # On a full disk that is the room for the new one: whoever went down with the machine left as much.
                tidy(run_dir)
            server = wait_for_workers(run_dir, launch(run_dir, wanted, timeout, shared), digest, timeout)
        note_pid(run_dir / PID_FILE, server.pid)
        undo.pop_all()
        (run_dir / STOPPED).unlink(missing_ok=True)
        processes.end(run_dir, keep=[server.launch])
        tidy(run_dir, server.launch)
        return server


def note_pid(path: Path, pid: int) -> None:
    """For people: a disk without room for it is no reason to serve nothing. Then there is none, not another's."""
    try:
        files.write(path, f"{pid}\n".encode())
        files.make_private(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        path.unlink(missing_ok=True)


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


def tidy(run_dir: Path, launch: str = "") -> None:
    """Remove what other servers than that of this `launch` have left, which all have ended."""
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
    return (
        shared_files.locked(run_dir / LOCK, patience=PATIENCE)
        if run_dir.is_dir()
        else contextlib.nullcontext()
    )


def stays_stopped(run_dir: Path) -> bool:
    return (run_dir / STOPPED).exists()
