"""A run that nobody watches: `greenr run`, for a schedule and for people."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

import luigi

from greenr_luigi import config_check, files, logs, run_history
from greenr_luigi.errors import GreenrError, SettingError
from greenr_luigi.logs import RotatedFile
from greenr_luigi.operations import prune
from greenr_luigi.operations.stages import deploying_stage
from greenr_luigi.operations.terminal import Show
from greenr_luigi.run_history import RUN_VARIABLE, Event
from greenr_luigi.staleness import data_root

LOGS, LOCK = "logs", "run.lock"
#: By a number, since a clock may be set back: otherwise the newest could be taken for the oldest.
LOG_NAME = re.compile(r"run-(\d{6})-\d{8}T\d{6}Z-\d+\.log(\.1)?")
#: Bytes of a log after which it begins again; what was before stays as `.1`, what was before that does not.
LOG_BYTES = 10 << 20


def run_unattended(root: Path, options: Sequence[str], module: str, show: Show) -> int:
    """Bring the page up if it is down, and run the pipeline as `luigi --module MODULE DeployApp OPTIONS` does, again
    when something passing was at fault. A good run then prunes. What Luigi says goes to a file in the folder `logs`.

    Returns Luigi's exit status. Another such run under the root is waited for."""
    stage = deploying_stage(module)
    data_root.mark(root)
    with files.locked(root / LOCK, lambda who: show.say(f"waits for {who}")):
        getattr(stage, "serve_on", lambda *_: None)(root, {}, show.say)
        policy = _policy()
        with _log(root, policy.logs) as log:
            command = [sys.executable, "-m", "luigi", "--module", module, stage.get_task_family()]
            command += [f"--root={root}", *_scheduler(), *options]
            for left in reversed(range(policy.retries + 1)):
                status, event = _try(command, root, stage.get_task_family(), log, show)
                if status == 0 or not event.passing or not left:
                    break
                show.say(f"{event.because}; tries again in {policy.minutes:g} minutes")
                time.sleep(60 * policy.minutes)
            show.end(event, log.path)
        if status == 0 and event.outcome == "deployed":
            try:
                freed = sum(removal.bytes for removal in prune.prune(root, policy.keep, False, module))
                if freed >= 2**20:
                    show.say(f"removed {freed / 2**20:,.0f} MB of earlier outputs")
            except GreenrError as error:
                show.say(f"not pruned: {error}")
    return status


def _policy() -> config_check.run:
    try:
        return config_check.run()  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise SettingError(f"luigi.cfg: [run] {str(error.__cause__).removeprefix('--')}") from None


def _scheduler() -> list[str]:
    """No luigid is asked unless luigi.cfg names one: it may be down."""
    config = luigi.configuration.get_config()
    names = (
        "scheduler_host",
        "scheduler-host",
        "default_scheduler_host",
        "default-scheduler-host",
        "scheduler_url",
    )
    return [] if any(config.has_option("core", name) for name in names) else ["--local-scheduler"]


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


def _try(command: list[str], root: Path, name: str, log: RotatedFile, show: Show) -> tuple[int, Event]:
    """Run the command; returns its exit status and the line that the run has in the history."""
    number, began, last = uuid.uuid4().hex[:12], time.monotonic(), ""
    log.write(f"$ {' '.join(command)}")
    environment = {**os.environ, RUN_VARIABLE: number, "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(
            command, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as child,
        _interrupting(child),
    ):
        for line in child.stdout or ():
            log.write(logs.bounded(line.rstrip()))
            show.line(line.rstrip())
            last = line.strip() or last
    events = [event for event in run_history.read(root) if event.run == number]
    if events and events[-1].kind == "run":
        return child.returncode, events[-1]
    # It was killed, ended before it was a run, or its stages are not ours.
    words = last if child.returncode >= 0 else f"it was ended by signal {-child.returncode}"
    event = run_history.of_run(name, time.monotonic() - began, events, words if child.returncode else None)
    event = replace(event, run=number)
    run_history.append(root, event, show.say)
    return child.returncode, event


@contextlib.contextmanager
def _interrupting(child: subprocess.Popen[str]) -> Iterator[None]:
    """Whoever ends us ends the child, and lets it see that the last good release serves."""

    def interrupt(number: int, _: FrameType | None) -> None:
        child.send_signal(signal.SIGINT)

    # A terminal sends Ctrl-C to both.
    before = [
        (number, signal.signal(number, how))
        for number, how in (
            (signal.SIGTERM, interrupt),
            (signal.SIGHUP, interrupt),
            (signal.SIGINT, lambda *_: None),
        )
    ]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
