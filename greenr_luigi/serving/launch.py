"""Gunicorn started as a daemon, and why it was not, if it was not."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.about import PACKAGE
from greenr_luigi.serving.processes import PID_FILE, master_pid
from greenr_luigi.serving.sockets import ServerError, listen
from greenr_luigi.serving.state import SERVER_NOTE, ServerNote

#: Seconds between two looks at a state that is waited for.
POLL = 0.05
LOG = "gunicorn.log"
#: Lines of the log in a message.
TAIL = 25
#: Variables that would change what gunicorn is told.
NOT_PASSED_ON = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "LISTEN_FDS", "LISTEN_PID", "GUNICORN_FD", "PORT")


def launch(run_dir: Path, note: ServerNote, timeout: float, shared: bool) -> tuple[int, ServerNote]:
    """Start gunicorn as `note` says (port 0 for a free one). The socket is bound here, so that a taken port is known at
    once. Writes server.json; returns gunicorn's pid, and the note with the port and the folder of counters that it got.

    `timeout` in seconds. `shared`: as in `listen`. Raises ServerError, whose message ends with the end of the log.
    """
    with listen(note.host, note.port, shared) as listening:
        note = replace(note, port=listening.getsockname()[1], metrics=f"metrics-{time.time_ns()}")
        for name in ("workers", note.metrics):
            (run_dir / name).mkdir(exist_ok=True)
        # `alive` ends when no process holds `held` any more: gunicorn died at birth.
        alive, held = socket.socketpair()
        with alive:
            with held, (run_dir / LOG).open("ab") as log:
                starting = subprocess.Popen(
                    [*command(run_dir, note), "--bind", f"fd://{listening.fileno()}"],
                    cwd=run_dir,
                    env=environment(run_dir, note),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    pass_fds=(listening.fileno(), held.fileno()),
                )
            try:
                starting.wait(timeout)
            except subprocess.TimeoutExpired:
                raise ServerError(f"gunicorn did not start in {timeout:g} s{log_end(run_dir)}") from None
            contracts.write(run_dir / SERVER_NOTE, note)
            deadline = time.monotonic() + timeout
            while (pid := master_pid(run_dir)) is None:
                if select.select([alive], [], [], POLL)[0] or time.monotonic() > deadline:
                    raise ServerError(f"gunicorn did not start on {note.host}:{note.port}{log_end(run_dir)}")
            return pid, note


def command(run_dir: Path, note: ServerNote) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "-c", "python:greenr_luigi.web.gunicorn_conf"),
        *("--daemon", "--enable-stdio-inheritance", "--pid", str(run_dir / PID_FILE)),
        *("--log-file", str(run_dir / LOG), "--workers", str(note.workers)),
    ]


def environment(run_dir: Path, note: ServerNote) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
        "GREENR_STORE": note.store,
        "GREENR_RUN_DIR": str(run_dir),
        "GREENR_ROOT_PATH": note.root_path,
        "PROMETHEUS_MULTIPROC_DIR": str(run_dir / note.metrics),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")])),
        "PYTHONSAFEPATH": "1",
        # One worker a core; what a library would start besides only takes memory.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def log_end(run_dir: Path) -> str:
    """The end of the log, as the end of a message."""
    try:
        text = (run_dir / LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "; there is no log"
    return f"; the end of {run_dir / LOG}:\n" + "\n".join(text.splitlines()[-TAIL:])
