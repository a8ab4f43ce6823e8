"""What runs: where the web classifier answers, since when, and how it was started."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TypedDict

from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import processes, readiness, server


class ServerStatus(TypedDict):
    """A running server. `releases`: the digests that its workers answer with, two of them while a new one is taken up;
    `since`: local time, ISO 8601; `workers`: their pids; `settings`: what it was started with; `user`: whose it is, if
    not ours. Then nobody else is told how it was started: `address`, `since` and `settings` are empty."""

    address: str
    releases: list[str]
    since: str
    pid: int
    user: int | None
    workers: list[int]
    workers_wanted: int
    settings: dict[str, str]
    log: str


def server_status(root: Path) -> list[ServerStatus]:
    """The servers under a root, in the order of their start: one, or two while one replaces the other.

    Raises GreenrError if there is none."""
    run_dir = root / "server"
    found = processes.servers(run_dir)
    if not found and server.stays_stopped(run_dir):
        raise GreenrError(
            f"no server runs under {root}, since `greenr stop` has stopped it: it stays so, over a reboot too, until "
            "`greenr start` or a deployment that succeeds"
        )
    if not found:
        raise GreenrError(f"no server runs under {root}: `greenr start` starts one")
    return [_status_of(running, run_dir) for running in found]


def _status_of(running: processes.Running, run_dir: Path) -> ServerStatus:
    note, told = running.note, running.user is None
    started = datetime.datetime.fromtimestamp(int(note.launch.rpartition("-")[2] or 0) / 1e9)
    return {
        "address": readiness.url(note) if told else "",
        "releases": sorted({state.digest for state in running.workers if state.digest}),
        "since": started.isoformat(" ", "seconds") if told else "",
        "pid": running.pid,
        "user": running.user,
        "workers": [state.pid for state in running.workers],
        "workers_wanted": note.workers,
        "settings": {name: value for name, value in note.settings.items() if value is not None},
        "log": str(run_dir / processes.LOG),
    }
