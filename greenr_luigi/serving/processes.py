"""The processes of our server: found by their environment, since pids are used again, and ended for certain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenr_luigi.files import read_json

#: Seconds that gunicorn gets for requests in flight; a little more than its graceful_timeout.
GRACE = 30.0
#: Seconds for a killed process to be gone.
SOON = 2.0


def told(run_dir: Path, pid: int) -> list[dict[str, Any]]:
    """What the living workers of the gunicorn with this pid say of themselves."""
    found = []
    for path in sorted(run_dir.glob("workers/*.json")):
        state = read_json(path)
        if state.get("master") == pid and ours(int(state["pid"]), run_dir):
            found.append(state)
    return found


def master(run_dir: Path, name: str = "gunicorn.pid") -> int | None:
    """The pid of our gunicorn; None for no pid file, a stale one, or a pid that is somebody else's now."""
    try:
        pid = int((run_dir / name).read_text())
    except (OSError, ValueError):
        return None
    return pid if ours(pid, run_dir) else None


def ours(pid: int, run_dir: Path) -> bool:
    """Whether a living process was started with this run_dir (Linux; a dead one has no environment)."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return b"GREENR_RUN_DIR=" + os.fsencode(run_dir.resolve()) in environment.split(b"\0")


def end(run_dir: Path, name: str) -> bool:
    """End the gunicorn of a pid file, gently and then not. False when it was not running."""
    pid = master(run_dir, name)
    if pid is not None:
        workers = [int(state["pid"]) for state in told(run_dir, pid)]
        kill(pid, signal.SIGTERM, GRACE)
        for one in [pid, *workers]:
            if ours(one, run_dir):
                kill(one, signal.SIGKILL, SOON)
    (run_dir / name).unlink(missing_ok=True)
    return pid is not None


def kill(pid: int, sign: signal.Signals, timeout: float) -> None:
    """Send a signal and wait until the process is gone, at most `timeout` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, sign)
        select.select([handle], [], [], timeout)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def sweep(run_dir: Path) -> None:
    """Clear away what a gunicorn that was killed left: workers that have not noticed yet, and their words."""
    for path in run_dir.glob("workers/*"):
        pid = read_json(path).get("pid")
        if isinstance(pid, int) and ours(pid, run_dir):
            kill(pid, signal.SIGKILL, SOON)
        path.unlink(missing_ok=True)
    (run_dir / "gunicorn.pid").unlink(missing_ok=True)


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """One caller at a time starts or stops a server; the kernel lets go of the lock of a killed one."""
    with (run_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
