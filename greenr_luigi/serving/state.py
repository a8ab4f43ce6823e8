"""What a server says of itself: how it was started, and what each of its workers serves."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError
from greenr_luigi.staleness.code import CodeTrace
from greenr_luigi.staleness.traces import Snapshot


@dataclass(frozen=True)
class ServerNote:
    """How a server was started. Its processes carry it in their environment, as JSON: no file can be lost, torn, or say
    of one server what is true of another."""

    host: str = ""
    port: int = 0
    workers: int = 0
    store: str = ""
    #: The GREENR_* variables, how many workers were asked for, and the interpreter.
    settings: dict[str, str | None] = field(default_factory=dict)
    #: What it has loaded: versions of libraries, code, and the page's files.
    versions: dict[str, str | None] = field(default_factory=dict)
    code: dict[str, CodeTrace] = field(default_factory=dict)
    assets: dict[str, Snapshot] = field(default_factory=dict)
    #: The name of this start, and of the folder in which its workers count.
    launch: str = ""
    #: Bytes of the log before this start.
    logged: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why a worker does not serve the release that `current` points to. `seen`: what `releases.identity` gave of it."""

    digest: str | None
    message: str
    seen: tuple[int, int] | None


@dataclass(frozen=True)
class WorkerState:
    """run_dir/workers/<pid>.json: what a worker serves. `digest` and `precision` ("float32" or "int8") are None before
    the first release; `master` is the pid of its gunicorn."""

    pid: int
    master: int
    digest: str | None = None
    precision: str | None = None
    problem: Refusal | None = None


def worker_file(run_dir: Path, pid: int) -> Path:
    return run_dir / "workers" / f"{pid}.json"


def worker_files(run_dir: Path) -> list[Path]:
    """Those that `worker_file` names, by name."""
    return [path for path in sorted(run_dir.glob("workers/*.json")) if re.fullmatch("[0-9]+", path.stem)]


def write_worker_state(run_dir: Path, state: WorkerState) -> None:
    path = worker_file(run_dir, state.pid)
    # Not its parents: a folder that a person has deleted must not come back.
    path.parent.mkdir(exist_ok=True)
    contracts.write(path, state)


def read_worker_states(run_dir: Path) -> list[WorkerState]:
    """What the workers say of themselves; of those that were killed, too, until gunicorn notices."""
    states = []
    for path in worker_files(run_dir):
        try:
            states.append(contracts.read(path, WorkerState))
        except (FileNotFoundError, ContractError):
            continue  # Its worker has just gone, or is of another version.
    return states
