"""The processes of our server: found by their environment, since pids are used again, and ended for certain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi.serving.state import WorkerState, read_worker_states

PID_FILE = "gunicorn.pid"
#: The pid file of a gunicorn whose successor is starting.
OLD_PID_FILE = "gunicorn.old.pid"
#: Seconds that gunicorn gets for requests in flight; a little more than its graceful_timeout.
GRACE = 30.0
#: Seconds for a killed process to be gone.
KILLED = 2.0


def master_pid(run_dir: Path, pid_file: str = PID_FILE) -> int | None:
    """The pid of our gunicorn; None for no pid file, a stale one, or a pid that is somebody else's now."""
    try:
        pid = int((run_dir / pid_file).read_text())
    except (OSError, ValueError):
        return None
    return pid if is_ours(pid, run_dir) else None


def living_workers(run_dir: Path, master: int | None) -> list[WorkerState]:
    """The states of the workers of the gunicorn with this pid."""
    states = read_worker_states(run_dir)
    return [state for state in states if state.master == master and is_ours(state.pid, run_dir)]


def is_ours(pid: int, run_dir: Path) -> bool:
    """Whether a living process was started with this run_dir (Linux; a dead one has no environment)."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return b"GREENR_RUN_DIR=" + os.fsencode(run_dir.resolve()) in environment.split(b"\0")


def stop_gunicorn(run_dir: Path, pid_file: str) -> bool:
    """End the gunicorn of a pid file: gently at first, then by force. False when it was not running."""
    master = master_pid(run_dir, pid_file)
    if master is not None:
        workers = [state.pid for state in living_workers(run_dir, master)]
        kill(master, signal.SIGTERM, GRACE)
        for pid in [master, *workers]:
            if is_ours(pid, run_dir):
                kill(pid, signal.SIGKILL, KILLED)
    (run_dir / pid_file).unlink(missing_ok=True)
    return master is not None


def kill(pid: int, sign: signal.Signals, timeout: float) -> None:
    """Send a signal and wait until the process is gone, at most `timeout` seconds."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, sign)
            select.select([handle], [], [], timeout)
        finally:
            os.close(handle)


def stop_all(run_dir: Path) -> bool:
    """End every gunicorn, and what a killed one left: workers that have not noticed yet, and files. False when no
    gunicorn was running."""
    stopped = [stop_gunicorn(run_dir, pid_file) for pid_file in (OLD_PID_FILE, PID_FILE)]
    for path in run_dir.glob("workers/*"):
        if path.stem.isdigit() and is_ours(int(path.stem), run_dir):
            kill(int(path.stem), signal.SIGKILL, KILLED)
        path.unlink(missing_ok=True)
    return any(stopped)


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """One caller at a time starts or stops a server; the kernel lets go of the lock of a killed one."""
    with (run_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
