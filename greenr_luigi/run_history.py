"""What happened under a data root: a line of history.jsonl for each stage that did something, and for each run."""

from __future__ import annotations

import datetime
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from greenr_luigi import contracts
from greenr_luigi.staleness.errors import FULL

FILE = "history.jsonl"
FULL_DISK = "full disk"
#: The run of this process and of those that it forks. Who starts it may have named it, to find its lines.
RUN_VARIABLE = "_GREENR_RUN"
RUN = os.environ.get(RUN_VARIABLE) or uuid.uuid4().hex[:12]
#: Where a run's log lies under the root, by a number, since a clock may be set back: otherwise the newest could be
#: taken for the oldest. Of this run, its name; empty where nobody keeps one.
LOGS = "logs"
LOG_NAME = re.compile(r"run-(\d{6})-\d{8}T\d{6}Z-\d+\.log(\.1)?")
LOG_VARIABLE = "_GREENR_LOG"
LOG = os.environ.get(LOG_VARIABLE, "")

#: "made", or "taken" over from an output that was made from the same, are said of a stage; "deployed" and "unchanged"
#: (nothing was stale) of a run; "refused" (by the gate) and "failed" of both.
Outcome = Literal["made", "taken", "deployed", "unchanged", "refused", "failed"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """How a stage or a run ended. `name`: the title of the stage, or of the one that the run was asked for; `because`:
    the cause to run, or the error; `ended`: ISO 8601, UTC; `passing`: what failed may do later, and nothing else need
    change, as after a fault of the network; `faults`: which (`fault_of`); `warnings`: what the stages of a run
    went on without, each after whose it is; `log`: the name of the run's log, if it has one.

    `summary`: of a stage, what its `work` returned; of a run that deployed or was refused, "pictures" in the data set,
    "accuracy" on the test pictures (a fraction), and the digest of the "release"."""

    kind: Literal["stage", "run"]
    name: str
    outcome: Outcome
    seconds: float
    because: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    passing: bool = False
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ended: str = field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    host: str = field(default_factory=socket.gethostname)
    run: str = RUN
    log: str = LOG


def fault_of(where: str, error: BaseException) -> str:
    """A name for what went wrong: where, and which kind of cause. It is the same as long as the same goes on, whichever
    class, file or number the message names. A full disk is one fault wherever it shows first."""
    if any(isinstance(each, OSError) and each.errno in FULL for each in (error, error.__cause__)):
        return FULL_DISK
    kind = type(error).__name__
    # A class of its own says which kind it is; these say nothing.
    said = kind in ("GreenrError", "StageError", "SettingError", "StalenessError")
    return fault_in_words(f"{where} {kind} {error}") if said else f"{where} {kind}"


def fault_in_words(words: str) -> str:
    """As `fault_of` where there are only words, of which those with a number are not the same from day to day."""
    return " ".join(word for word in words.split() if not any(map(str.isdigit, word)))[:120]


def append(root: Path, event: Event, tell: Callable[[str], None]) -> None:
    """Where the line cannot be written, as on a full disk, it is lost, and `tell` gets to know: no run fails of it."""
    try:
        contracts.append_log(root / FILE, event)
    except OSError as error:
        tell(f"not noted in {root / FILE}: {error.strerror}")


def read(root: Path, on_lost: Callable[[int], object] = lambda number: None) -> list[Event]:
    """All that happened, oldest first. `on_lost` gets how many lines cannot be read, if any."""
    return contracts.read_log(root / FILE, Event, on_lost)


def of_run(name: str, seconds: float, stages: Sequence[Event], stale: str | None) -> Event:
    """How a run ended, by what its stages noted. `name`: the title of the stage that it was asked for; `stale`: why
    that is still stale, None if it is not."""
    bad = [event for event in stages if event.outcome in ("failed", "refused")]
    did = [event for event in stages if event not in bad]
    outcome: Outcome
    if stale is None:
        outcome = "deployed" if any(event.name == name for event in did) else "unchanged"
        words = [f"{event.name}: {event.because}" for event in did[:1]]
    else:
        outcome = "refused" if any(event.outcome == "refused" for event in bad) else "failed"
        words = [f"{event.name}: {event.because}" for event in bad] or [stale]
    faults = {fault for event in bad for fault in event.faults}
    return Event(
        kind="run",
        name=name,
        outcome=outcome,
        seconds=round(seconds, 3),
        because="; ".join(words),
        passing=stale is not None and bool(bad) and all(event.passing for event in bad),
        faults=sorted(faults) or ([fault_in_words(stale)] if stale is not None else []),
    )


def by_run(events: Iterable[Event]) -> list[tuple[Event | None, Sequence[Event]]]:
    """Each run with its stages, in the order in which runs began to leave lines. None for a run that has not ended, or
    was killed."""
    runs: dict[str, list[Event]] = {}
    for event in events:
        runs.setdefault(event.run, []).append(event)
    grouped: list[tuple[Event | None, Sequence[Event]]] = []
    for lines in runs.values():
        stages: list[Event] = []
        for line in lines:
            if line.kind == "run":
                grouped.append((line, stages))
                stages = []
            else:
                stages.append(line)
        if stages:
            grouped.append((None, stages))
    return grouped


def judged(events: Iterable[Event]) -> list[Event]:
    """The runs that brought a model before the gate: those whose release came to serve, and the refused ones."""
    return [
        event
        for event in events
        if (event.kind, event.outcome) in (("run", "deployed"), ("run", "refused"))
        and isinstance(accuracy := event.summary.get("accuracy"), float | int)
        and 0 <= accuracy <= 1
        and isinstance(event.summary.get("pictures"), int)
    ]
