"""A run that nobody watches: `greenr run`, for a schedule and for people."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from luigi.retcodes import retcode

from greenr_luigi import config_check, files, lifetime, logs, luigi_cfg, run_history, shared_files
from greenr_luigi.errors import REMEDIES, GreenrError, os_refusals_explained
from greenr_luigi.logs import RotatedFile
from greenr_luigi.operations import last_run, notifier, notify, prune
from greenr_luigi.operations.notices import Found
from greenr_luigi.operations.notify import Ended
from greenr_luigi.operations.stages import deploying_stage
from greenr_luigi.operations.terminal import BEGINS, Show
from greenr_luigi.run_history import LOG_NAME, LOG_VARIABLE, LOGS, RUN_VARIABLE, Event
from greenr_luigi.staleness import data_root
from greenr_luigi.staleness.errors import why_full

LOCK = "run.lock"
#: Bytes of a log after which it begins again; what was before stays as `.1`, what was before that does not.
LOG_BYTES = 10 << 20
#: Whose signal it mostly is.
KILLED: Mapping[int, str] = {
    signal.SIGKILL: ": where nobody did that, memory was short (`dmesg` tells): free some, or take a smaller --arch"
}
#: Luigi's own mails, of [email] in luigi.cfg, would say the same once more, and every day.
NO_MAIL = ("--email-format", "none")


def run_unattended(root: Path, options: Sequence[str], module: str, show: Show) -> int:
    """Bring the page up if it is down, and run the pipeline as `luigi --module MODULE DeployApp OPTIONS` does, again
    when something passing was at fault. A good run then prunes. What Luigi says goes to a file in the folder `logs`.
    Whom luigi.cfg names under [notify] is told what matters.

    Returns Luigi's exit status. Another such run under the root is waited for."""
    stage = deploying_stage(module)
    data_root.mark(root)
    with shared_files.locked(root / LOCK, lambda who: show.say(f"waits for {who}")):
        down: Exception | None = getattr(stage, "serve_on", lambda *_: None)(root, {}, show.say)
        if not options and luigi_cfg.says_nothing():
            # The defaults are another classifier, which would take the place of what is served.
            last = shlex.join(last_run.options(root, module))
            raise GreenrError(
                f"no luigi.cfg in {Path.cwd()} sets anything, and no option says what is to be run: put it back, write "
                "one (`greenr init . --classes ...`), or give the options. Nothing was run"
                + (f"; what is deployed was run with {last}" if last else "")
            )
        policy, to = config_check.of_section(config_check.run), notifier.addresses()
        for address in to:
            address.check()
        with _log(root, policy.logs) as log:
            command = [sys.executable, "-m", "luigi", "--module", module, stage.get_task_family()]
            command += [f"--root={root}", *(NO_MAIL if to else ()), *options]
            for left in reversed(range(policy.retries + 1)):
                tried = _try(command, root, stage.get_task_family(), log, show)
                status, event = tried.status, tried.event
                if status == 0 or not tried.passing or not left:
                    break
                because = event.because if event.passing else "another worker is at what is left"
                show.say(f"{because}; tries again in {policy.minutes:g} minutes")
                time.sleep(60 * policy.minutes)
            show.end(event, log.path)
            if not tried.interrupted:
                found = _found(tried, down)
                ended = Ended(root, found, status == 0, event.outcome, log.path, [*tried.tail])
                notify.tell(ended, to, log.write, show.say)
        if status == 0 and event.outcome == "deployed":
            try:
                with os_refusals_explained(root):
                    freed = sum(removal.bytes for removal in prune.prune(root, policy.keep, False, module))
                if freed >= 2**20:
                    show.say(f"removed {freed / 2**20:,.0f} MB of earlier outputs")
            except GreenrError as error:
                show.say(f"not pruned: {error}")
    return status


def _found(tried: Try, down: Exception | None) -> dict[str, Found]:
    """What the last try says is wrong. `down`: why the page did not serve before; a good run mends that."""
    found: dict[str, Found] = {}
    for words in tried.event.warnings:
        # Of one stage a class, it is the same whichever of them it shows in.
        fault = f"{re.split(r'[^a-zA-Z0-9_]', words)[0]} warning"
        before = f"{found[fault].because}\n" if fault in found else ""
        found[fault] = Found(before + words, patient=True)
    if tried.status != 0:
        if down:
            found[run_history.fault_of("page", down)] = Found(f"the page is down: {down}")
        for fault in tried.event.faults or [f"status {tried.status}"]:
            found[fault] = Found(tried.event.because)
    return found


@contextlib.contextmanager
def _log(root: Path, most: int) -> Iterator[RotatedFile]:
    """A new log. Of the older ones so many stay that there are `most`."""
    folder = files.private_folder(root / LOGS)
    old = sorted(path for path in folder.iterdir() if LOG_NAME.fullmatch(path.name) and path.is_file())
    for path in old[: max(len(old) - most + 1, 0)]:
        path.unlink()
    newest = LOG_NAME.fullmatch(old[-1].name) if old else None
    number, now = int(newest[1]) + 1 if newest else 1, datetime.datetime.now(datetime.UTC)
    name = f"run-{number:06d}-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    with contextlib.closing(RotatedFile(folder / name, LOG_BYTES, 2)) as log:
        yield log


@dataclass(frozen=True)
class Try:
    """`status`: Luigi's exit status; `event`: the line that the run has in the history; `tail`: the end of what was
    said; `interrupted`: by whoever ended us; `passing`: it may do well when it is tried again."""

    status: int
    event: Event
    tail: Sequence[str]
    interrupted: bool
    passing: bool = False


def _judged(status: int, event: Event, tail: Sequence[str], interrupted: bool) -> Try:
    """Where other workers of the same scheduler have taken what was to do, Luigi's status says so (a failure of ours is
    a higher one), whether they have done it or not. What counts is whether anything is stale still, which passes."""
    codes = retcode()
    met_others = status in {codes.already_running, codes.not_run} - {0}
    if met_others and event.outcome in ("deployed", "unchanged"):
        status = 0
    return Try(status, event, tail, interrupted, event.passing or (met_others and event.outcome == "failed"))


def _try(command: list[str], root: Path, name: str, log: RotatedFile, show: Show) -> Try:
    """Run the command."""
    number, began, last, tail = uuid.uuid4().hex[:12], time.monotonic(), "", deque[str](maxlen=notify.LINES)
    running = "luigi"
    log.write(f"$ {' '.join(command)}")
    environment = {**os.environ, RUN_VARIABLE: number, LOG_VARIABLE: log.path.name, "PYTHONUNBUFFERED": "1"}
    pipe, parent = subprocess.PIPE, os.getpid()

    def end_with_us() -> None:
        # A shell has what it starts in the background ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not lifetime.end_with(parent, signal.SIGINT):
            os._exit(1)

    with (
        subprocess.Popen(
            command,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            # Also where we are killed: as by Ctrl-C.
            preexec_fn=end_with_us,
        ) as child,
        _interrupting(child) as interrupted,
    ):
        for line in child.stdout or ():
            tail.append(logs.bounded(line.rstrip()))
            log.write(tail[-1])
            show.line(line.rstrip())
            if begins := BEGINS.fullmatch(line.rstrip()):
                running = begins["stage"]
            last = line.strip() or last
    events = [event for event in run_history.read(root) if event.run == number]
    if events and events[-1].kind == "run":
        return _judged(child.returncode, events[-1], tail, bool(interrupted))
    # It was killed, ended before it was a run, could not note that, or its stages are not ours.
    full, faults = why_full(root), []
    if full:
        last, faults = f"{root}: {REMEDIES[full]}", [run_history.FULL_DISK]
    elif child.returncode < 0:
        ended_by = signal.strsignal(-child.returncode)
        faults = [f"{running.partition('(')[0]} {ended_by}"]
        last = f"{running}: it was ended by signal {-child.returncode} ({ended_by}){KILLED.get(-child.returncode, '')}"
    event = run_history.of_run(name, time.monotonic() - began, events, last if child.returncode else None)
    event = replace(event, run=number, log=log.path.name, faults=faults or event.faults)
    run_history.append(root, event, show.say)
    return _judged(child.returncode, event, tail, bool(interrupted))


@contextlib.contextmanager
def _interrupting(child: subprocess.Popen[str]) -> Iterator[list[int]]:
    """Whoever ends us ends the child, and lets it see that the last good release serves. Yields the signals so far."""
    came: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        came.append(number)
        child.send_signal(signal.SIGINT)

    # A terminal sends Ctrl-C to both.
    before = [
        (number, signal.signal(number, how))
        for number, how in (
            (signal.SIGTERM, interrupt),
            (signal.SIGHUP, interrupt),
            (signal.SIGINT, lambda number, _: came.append(number)),
        )
    ]
    try:
        yield came
    finally:
        for number, handler in before:
            signal.signal(number, handler)
