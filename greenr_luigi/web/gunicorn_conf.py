"""What gunicorn is told whatever it serves (docs.gunicorn.org/en/stable/settings.html)."""

from __future__ import annotations

import itertools
import os
import resource
import socket
from pathlib import Path
from typing import Any

from greenr_luigi.serving import privacy
from greenr_luigi.serving.launch import SOCKET
from greenr_luigi.serving.state import worker_file
from greenr_luigi.web import metrics

wsgi_app = "greenr_luigi.web.app:create()"
worker_class = "greenr_luigi.web.worker.Worker"
logger_class = "greenr_luigi.web.gunicorn_log.BoundedLogger"
# Imports happen once, before the fork: a worker is ready sooner and shares their memory.
preload_app = True
graceful_timeout = 25
timeout = 60
keepalive = 5
# gunicorn would open a socket in the home folder to be controlled by; signals are enough.
control_socket_disable = True

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
    # Not before: gunicorn sets it, too, when it becomes a daemon.
    os.umask(0o077)
    privacy.close_to_others(Path(os.environ["GREENR_STORE"]), os.environ.get("GREENR_RUN_DIR"))


def pre_fork(server: Any, worker: Any) -> None:
    """Find a place for a worker: that of one that has ended, if there is one."""
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(number for number in itertools.count() if number not in taken)


def post_fork(server: Any, worker: Any) -> None:
    metrics.place.take(worker.place)
    metrics.count(metrics.STARTS, str(worker.place))


def child_exit(server: Any, worker: Any) -> None:
    run_dir = os.environ.get("GREENR_RUN_DIR")
    if run_dir:
        # A worker that was killed did not remove its own file.
        worker_file(Path(run_dir), worker.pid).unlink(missing_ok=True)
