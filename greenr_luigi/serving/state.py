"""What a running server writes down: how it was started, and what each of its workers serves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError

SERVER_NOTE = "server.json"


@dataclass(frozen=True)
class ServerNote:
    """run_dir/server.json: how the server was started. A server that was started differently is replaced."""

    host: str
    port: int
    workers: int
    store: str = ""
    root_path: str = ""
    #: The interpreter, a digest of the code that it loaded, and the GREENR_* variables.
    python: str = ""
    code: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    #: The name of the folder in which the workers count.
    metrics: str = ""

    def satisfies(self, wanted: ServerNote) -> bool:
        """Whether a server that was started so need not be replaced by the wanted one, whose port 0 is any."""
        return replace(self, port=self.port if wanted.port else 0, metrics="") == wanted


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


def write_worker_state(run_dir: Path, state: WorkerState) -> None:
    path = worker_file(run_dir, state.pid)
    path.parent.mkdir(parents=True, exist_ok=True)
    contracts.write(path, state)


def read_worker_states(run_dir: Path) -> list[WorkerState]:
    """What the workers say of themselves; of those that were killed, too, until gunicorn notices."""
    states = []
    for path in sorted(run_dir.glob("workers/*.json")):
        try:
            states.append(contracts.read(path, WorkerState))
        except (FileNotFoundError, ContractError):
            continue  # Its worker has just gone, or is of another version.
    return states
