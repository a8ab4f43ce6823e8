"""The dashboard of a data root: started, found and ended."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import luigi.configuration

from greenr_luigi import config_check, files, logs, scheduler
from greenr_luigi.dashboard import running
from greenr_luigi.dashboard.running import Running
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.stages import load_stages
from greenr_luigi.operations.start import tell_systemd
from greenr_luigi.serving import processes, sockets
from greenr_luigi.staleness import data_root, locks, regular
from greenr_luigi.staleness.locks import LockTimeoutError

#: The numbers of the bound socket, and of the pipe that is written to once it answers.
PASSED = "_GREENR_DASHBOARD"
LOG_BYTES, LOG_FILES = 5 << 20, 2
#: Seconds for it to end by itself.
GRACE = 10.0


def start(root: Path, module: str, port: int | None) -> tuple[Running, bool]:
    """Start the dashboard in the background. `port`: None for that of luigi.cfg. Returns it, and whether
    it was there before. Raises GreenrError where it does not come to answer, and says who has the port."""
    _refuse_foreign(root)
    if there := running.running(root):
        return there, True
    data_root.mark(root)
    log = files.private_folder(root / running.FOLDER) / running.LOG
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as ready, _listen(module, port) as listening:
        words = [f"--root={root}", f"--module={module}", "dashboard", "--stay"]
        with regular.opened(log, "ab") as output:
            files.make_private(log)
            began = output.tell()
            subprocess.Popen(
                [sys.executable, "-m", "greenr_luigi.cli", *words],
                env={**os.environ, PASSED: f"{listening.fileno()} {writing}"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[listening.fileno(), writing],
            )
        os.close(writing)
        if not ready.read():
            with regular.opened(log) as output:
                output.seek(began)
                raise GreenrError(
                    f"the dashboard did not start: {output.read().decode(errors='replace').strip()}"
                )
    if (there := running.running(root)) is None:
        raise GreenrError(f"the dashboard has ended: see {log}")
    return there, False


def stay(root: Path, module: str, port: int | None) -> None:
    """Be the dashboard, until a signal ends it. If there is one already, raises GreenrError, or waits for its end where
    systemd has started this."""
    from greenr_luigi.dashboard import server

    os.umask(0o077)
    notify = os.environ.pop("NOTIFY_SOCKET", None)
    passed = os.environ.pop(PASSED, None)
    load_stages(module)
    data_root.mark(root)
    folder = files.private_folder(root / running.FOLDER)
    lock = locks.opened(folder / running.LOCK)
    try:
        locks.take(
            lock,
            folder / running.LOCK,
            fcntl.LOCK_EX,
            lambda who: print(f"waits: {who}", file=sys.stderr) if notify else None,
            locks.PATIENCE if notify else 0,
        )
    except LockTimeoutError as error:
        raise GreenrError(f"the dashboard of {root} runs already: {error.strerror}") from None
    # One that was killed left its record, and its pid may be anybody's by now.
    (folder / running.RECORD).unlink(missing_ok=True)
    if passed:
        number, writing = map(int, passed.split())
        listening = socket.socket(fileno=number)
    else:
        listening, writing = _listen(module, port), None
    handler = logs.RotatedFile(folder / running.LOG, LOG_BYTES, LOG_FILES)
    handler.setFormatter(logs.OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.getLogger("tornado.access").setLevel(logging.ERROR)

    def ready() -> None:
        running.note(root, *listening.getsockname()[:2])
        if writing is not None:
            os.write(writing, b"answers")
            os.close(writing)
        if notify:
            tell_systemd(notify)

    server.serve(root, folder, listening, _allowed(), settings(module).days, ready)


def stop(root: Path) -> bool:
    """End the dashboard; False if none ran. Runs that it schedules wait for it, for a minute."""
    _refuse_foreign(root)
    there = running.running(root)
    if there is None:
        return False
    _, started = processes.origin(there.pid)
    process = processes.Process(there.pid, 0, started)
    processes.kill(process, signal.SIGTERM, GRACE)
    if running.running(root) is not None:
        processes.kill(process, signal.SIGKILL, processes.KILLED)
    return True


def _refuse_foreign(root: Path) -> None:
    """Raises OSError where the folder is another user's."""
    if (root / running.FOLDER).exists():
        files.private_folder(root / running.FOLDER)


def settings(module: str) -> config_check.dashboard:
    """What luigi.cfg says of it. Raises SettingError."""
    load_stages(module)  # Which lays the defaults, of Luigi's scheduler too.
    return config_check.of_section(config_check.dashboard)


def address(root: Path, module: str) -> str:
    """Where the dashboard of a root is for this machine: the one that runs here, else the scheduler that luigi.cfg
    names, else where one would be started."""
    configured = settings(module)
    if there := running.running(root):
        return there.url
    return scheduler.named(luigi.configuration.get_config()) or sockets.url(configured.host, configured.port)


def _listen(module: str, port: int | None) -> socket.socket:
    """`port`: None for that of luigi.cfg."""
    configured = settings(module)
    return sockets.listen(configured.host, configured.port if port is None else port)


def _allowed() -> set[str]:
    """The names that the page is allowed, and the one by which luigi.cfg has runs ask."""
    from greenr_luigi.web.settings import reader

    host = urllib.parse.urlsplit(scheduler.named(luigi.configuration.get_config())).hostname
    name = "GREENR_ALLOWED_HOSTS"
    read: Callable[[str], object] = reader("allowed_hosts")
    text = os.environ.get(name) or config_check.of_server().get(name, "")
    allowed: set[str] = set(read(text)) if text else set()  # type: ignore[call-overload]
    return allowed | {host} if host else allowed
