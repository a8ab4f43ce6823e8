"""The processes of our servers: found by what they are, and ended for certain.

No pid file is trusted, since pids are used again and files are deleted, copied and moved. A process is ours if it was
started for our run_dir, or works in that folder, whatever its name was then.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import msgspec

from greenr_luigi.serving.sockets import ServerError
from greenr_luigi.serving.state import ServerNote, WorkerState, read_worker_states
from greenr_luigi.staleness import regular

LOG = "gunicorn.log"
#: The variable in which a server's processes carry their ServerNote.
NOTE = "GREENR_SERVER"
#: The command line of a gunicorn or of one of its workers, as it was started or as setproctitle shows it.
GUNICORN = re.compile(rb"(^|\0|/)gunicorn(\0|:)")
#: Seconds that gunicorn gets for requests in flight; a little more than its graceful_timeout.
GRACE = 30.0
#: Seconds for a killed process to be gone.
KILLED = 2.0


@dataclass(frozen=True)
class Process:
    """A gunicorn or one of its workers. `started`: when, in ticks since the machine was started, which no clock that is
    set back changes; `note`: how it was started, empty if it does not say, as in version 0.2;
    `at_home`: whether it works in our run_dir, and not in one that was deleted; `user`: the id of the user that it
    belongs to, if we may not look into it."""

    pid: int
    parent: int
    started: int = 0
    note: ServerNote = field(default_factory=ServerNote)
    at_home: bool = True
    user: int | None = None


@dataclass(frozen=True)
class Running(Process):
    """A living gunicorn, with what its living workers say of themselves."""

    workers: tuple[WorkerState, ...] = ()


def find(run_dir: Path) -> list[Process]:
    """The living processes of every server of a run_dir on this machine (Linux)."""
    run_dir = regular.real(run_dir)
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  a Path for each takes long
        with contextlib.suppress(OSError):  # It has just ended.
            found.append(_examine(int(pid), run_dir))
    return [process for process in found if process is not None]


def _examine(pid: int, run_dir: Path) -> Process | None:
    """A process, if it is one of a server of this run_dir. Raises OSError if it has ended."""
    proc = Path(f"/proc/{pid}")
    try:
        with open(f"{proc}/environ", "rb", 0) as file:  # noqa: PTH123  the fastest of several ways
            exported = b"\0" + file.read()
    except PermissionError:
        # The command line, which names the log, may be read.
        command = (proc / "cmdline").read_bytes()
        user = proc.stat().st_uid
        is_server = os.fsencode(run_dir / LOG) in command.split(b"\0") and GUNICORN.search(command)
        return Process(pid, *origin(pid), user=user) if is_server and _may_serve(user, run_dir) else None
    # Whoever exports the variable, as for a server of their own, has it in every process.
    if b"\0GREENR_RUN_DIR=" not in exported or not GUNICORN.search((proc / "cmdline").read_bytes()):
        return None
    entries = (os.fsdecode(entry).partition("=") for entry in exported.split(b"\0"))
    environment = {name: value for name, _, value in entries}
    at_home = run_dir.is_dir() and (proc / "cwd").samefile(run_dir)
    if not (at_home or environment["GREENR_RUN_DIR"] == str(run_dir)):
        return None
    if not _may_serve(proc.stat().st_uid, run_dir):
        return None
    # In another container pids and addresses are others.
    if (proc / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
        return None
    note = ServerNote()
    with contextlib.suppress(KeyError, ValueError):
        note = msgspec.convert(json.loads(environment[NOTE]), ServerNote)
    return Process(pid, *origin(pid), note, at_home)


def _may_serve(user: int, run_dir: Path) -> bool:
    """Whether a user's process can be a server of a run_dir, which is for its owner alone. Any process can look like
    one, and would keep others from deploying."""
    try:
        return user in (0, os.geteuid(), run_dir.stat().st_uid)
    except OSError:  # It was deleted.
        return True


def origin(pid: int) -> tuple[int, int]:
    """The parent of a process, and when it was started."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[1]), int(fields[19])


def servers(run_dir: Path) -> list[Running]:
    """The living servers of a run_dir, in the order of their start. Workers whose gunicorn is gone are no server: they
    end by themselves."""
    states = {state.pid: state for state in read_worker_states(run_dir)}
    processes = {process.pid: process for process in sorted(find(run_dir), key=attrgetter("started", "pid"))}
    running = []
    for gunicorn in processes.values():
        if gunicorn.parent not in processes and gunicorn.pid not in states:
            own = [states[pid] for pid in processes if pid in states and states[pid].master == gunicorn.pid]
            running.append(Running(**vars(gunicorn), workers=tuple(own)))
    return running


def end(run_dir: Path, keep: Collection[str] = ()) -> bool:
    """End the servers of a run_dir, and workers that a killed gunicorn has left: gently at first, then by force. The
    launches in `keep` stay. False when there was nothing to end.

    Raises ServerError for processes of another user.
    """
    doomed = [process for process in find(run_dir) if process.note.launch not in keep]
    refuse_foreign(run_dir, doomed)
    pids = {process.pid for process in doomed}
    for process in doomed:
        if process.parent not in pids:
            kill(process, signal.SIGTERM, GRACE)
    for process in find(run_dir):
        if process.note.launch not in keep:
            kill(process, signal.SIGKILL, KILLED)
    return bool(doomed)


def refuse_foreign(run_dir: Path, processes: Iterable[Process]) -> None:
    """Raises ServerError if a process belongs to a user whose processes we may not end."""
    for process in processes:
        if process.user is not None:
            raise ServerError(
                f"the server of {run_dir.parent} (process {process.pid}) belongs to user {process.user}: run as that "
                f"user, or stop it first with `sudo -u '#{process.user}' greenr --root {run_dir.parent} stop`"
            )


def kill(process: Process, sign: signal.Signals, timeout: float) -> None:
    """Send a signal and wait until the process is gone, at most `timeout` seconds. Another one that has its pid by now
    is left alone."""
    _wait(process, sign, 1000 * timeout)


def wait(process: Process) -> None:
    """Wait until a process is gone."""
    _wait(process, None, None)


def _wait(process: Process, sign: signal.Signals | None, milliseconds: float | None) -> None:
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        handle = os.pidfd_open(process.pid)
        try:
            if origin(process.pid)[1] != process.started:
                return
            if sign is not None:
                signal.pidfd_send_signal(handle, sign)
            ended = select.poll()  # select() knows no more than 1,024 files.
            ended.register(handle, select.POLLIN)
            ended.poll(milliseconds)
        finally:
            os.close(handle)
