"""What gunicorn is told whatever it serves (docs.gunicorn.org/en/stable/settings.html)."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from greenr_luigi.serving.launch import SOCKET
from greenr_luigi.serving.state import worker_file

wsgi_app = "greenr_luigi.web.app:create()"
worker_class = "greenr_luigi.web.worker.Worker"
# Imports happen once, before the fork: a worker is ready sooner and shares their memory.
preload_app = True
graceful_timeout = 25
timeout = 60
keepalive = 5
# gunicorn would open a socket in the home folder to be controlled by; signals are enough.
control_socket_disable = True
# A slow disk must not stop a worker's heartbeat.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None

# Connections take a descriptor each; shells still give 1024 (systemd's default, for select()).
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def on_starting(server: Any) -> None:
    # By its folder a server is found when that has been moved.
    if run_dir := os.environ.get("GREENR_RUN_DIR"):
        os.chdir(run_dir)
    descriptor = os.environ.get(SOCKET)
    if descriptor:
        server.LISTENERS = [socket.socket(fileno=int(descriptor))]


def child_exit(server: Any, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    run_dir = os.environ.get("GREENR_RUN_DIR")
    if run_dir:
        # A worker that was killed did not remove its own file.
        worker_file(Path(run_dir), worker.pid).unlink(missing_ok=True)
