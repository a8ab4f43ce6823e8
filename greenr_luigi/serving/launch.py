"""A gunicorn brought to life as a daemon, and why it was not, if it was not."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from greenr_luigi import files
from greenr_luigi.paths import PACKAGE
from greenr_luigi.serving.processes import master

#: Seconds between two looks at a state that is waited for.
LOOK = 0.05
#: Variables that would change what gunicorn is told.
NOT_PASSED_ON = ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "LISTEN_FDS", "LISTEN_PID", "GUNICORN_FD", "PORT")


class ServerError(RuntimeError):
    """A server that does not start or does not serve what it should; the message ends with its log's end."""


def launch(run_dir: Path, wanted: dict[str, Any], timeout: float, beside: bool) -> int:
    """Start gunicorn on a socket that is bound here, so that a taken port is known at once; returns its pid and writes
    server.json: `wanted`, and the port and the folder of counters that it got.

    `wanted`: `store`, `host`, `port` (0 for a free one), `workers`, `root_path`. `timeout` in seconds.
    `beside`: as in `bind`.
    Raises ServerError; the message ends with the log's end.
    """
    (run_dir / "workers").mkdir(exist_ok=True)
    metrics = run_dir / f"metrics-{time.time_ns()}"
    metrics.mkdir()
    listening = bind(wanted["host"], wanted["port"], beside)
    # Closes when the last process that holds the other end is gone: how a death at birth is seen.
    alive, held = os.pipe()
    try:
        wanted = {**wanted, "port": listening.getsockname()[1]}
        environment = {
            **{name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON},
            "GREENR_STORE": wanted["store"],
            "GREENR_RUN_DIR": str(run_dir),
            "GREENR_ROOT_PATH": wanted["root_path"],
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")])),
            "PYTHONSAFEPATH": "1",
            # One worker a core; what a library would start besides only takes memory.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        command = [sys.executable, "-m", "gunicorn", "-c", "python:greenr_luigi.web.gunicorn_conf"]
        command += ["--daemon", "--enable-stdio-inheritance", "--pid", str(run_dir / "gunicorn.pid")]
        command += ["--log-file", str(run_dir / "gunicorn.log"), "--workers", str(wanted["workers"])]
        command += ["--bind", f"fd://{listening.fileno()}"]
        with (run_dir / "gunicorn.log").open("ab") as log:
            starting = subprocess.Popen(
                command,
                cwd=run_dir,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(listening.fileno(), held),
            )
        os.close(held)
        held = -1
        starting.wait(timeout)
        files.write(run_dir / "server.json", json.dumps({**wanted, "metrics": metrics.name}).encode())
        deadline = time.monotonic() + timeout
        while (pid := master(run_dir)) is None:
            if select.select([alive], [], [], LOOK)[0] or time.monotonic() > deadline:
                raise ServerError(
                    f"gunicorn did not start on {wanted['host']}:{wanted['port']}{tail(run_dir)}"
                )
        return pid
    except subprocess.TimeoutExpired:
        raise ServerError(f"gunicorn did not start in {timeout:g} seconds{tail(run_dir)}") from None
    finally:
        listening.close()
        os.close(alive)
        if held >= 0:
            os.close(held)


def bind(host: str, port: int, beside: bool) -> socket.socket:
    """A listening socket, which shares its address (SO_REUSEPORT) with the one that takes its place later. `beside`: it
    is that one, and our own server still has the address. Raises ServerError when the address cannot be had."""
    if not 0 <= port <= 65535:
        # getaddrinfo would take the rest of a division by 65536.
        raise ServerError(f"--port {port}: expected a whole number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"host {host!r}: no address of this machine ({error}); try 127.0.0.1") from None
    try:
        if not beside:
            # Without SO_REUSEPORT: another server of ours, of another data root, shall not share it unawares.
            with socket.socket(family, kind, protocol) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                address = alone.getsockname()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "another program listens there" if taken else str(error)
        raise ServerError(
            f"cannot listen on {host}:{port}: {why}; stop it or choose another --port"
        ) from None
    return listening


def tail(run_dir: Path, lines: int = 25) -> str:
    """The end of the log, as the end of a message."""
    try:
        text = (run_dir / "gunicorn.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "; there is no log"
    return f"; the end of {run_dir / 'gunicorn.log'}:\n" + "\n".join(text.splitlines()[-lines:])
