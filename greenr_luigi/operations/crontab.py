"""The schedule by cron: two lines in the crontab of whoever asks, for each folder."""

from __future__ import annotations

import datetime
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.plan import Plan, next_time


def install(plan: Plan) -> None:
    """Put the lines into the crontab, in place of what the folder has there. Raises GreenrError if there is no cron."""
    lines = block(plan)
    if _command() is None:
        raise GreenrError(
            "there is no crontab on this machine: install cron, or use --systemd. Where something else starts "
            f"commands, have it run these:\n{lines}"
        )
    _write(_without(_read(), plan.folder) + lines)


def remove(folder: Path) -> bool:
    """Take the folder's lines out of the crontab; False if there were none."""
    before = _read()
    after = _without(before, folder)
    if after != before:
        _write(after)
    return after != before


def installed(folder: Path) -> str:
    """What the crontab says of a folder, and when it runs next; empty if nothing."""
    found = _pattern(folder).search(_read())
    if found is None:
        return ""
    minute, hour = map(int, found[0].splitlines()[1].split()[:2])
    return f"{found[0]}next run: {next_time(hour, minute, datetime.datetime.now()):%Y-%m-%d %H:%M}\n"


def block(plan: Plan) -> str:
    """The lines of a crontab. They rely on no PATH, HOME, locale or working directory."""
    folder = plan.folder
    if "\n" in str(folder):
        raise GreenrError(f"{folder}: a crontab has no way to name a folder with a line break: rename it")
    settings = [f"{name}={value}" for name, value in plan.environment.items()]
    greenr = [*(["env", *settings] if settings else []), *plan.greenr]
    run, start = (
        f"cd {shlex.quote(str(folder))} && {shlex.join([*greenr, word])}" for word in ("run", "start")
    )
    # cron takes a bare % for a line break.
    lines = [f"{plan.minute} {plan.hour} * * * {run}", f"@reboot {start}"]
    return "\n".join([_begin(folder), *(line.replace("%", r"\%") for line in lines), _end(folder), ""])


def _begin(folder: Path) -> str:
    return f"# greenr in {folder}: `greenr schedule remove` takes these lines away"


def _end(folder: Path) -> str:
    return f"# end of greenr in {folder}"


def _pattern(folder: Path) -> re.Pattern[str]:
    begin, end = re.escape(_begin(folder)), re.escape(_end(folder))
    return re.compile(rf"^{begin}\n(?:(?!# greenr in ).*\n)*?{end}\n", re.MULTILINE)


def _without(crontab: str, folder: Path) -> str:
    return _pattern(folder).sub("", crontab)


def _command() -> str | None:
    return shutil.which("crontab", path=os.environ.get("PATH", os.defpath))


def _crontab(argument: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_command() or "crontab", argument],
        input=text,
        text=True,
        errors="surrogateescape",
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )


def _read() -> str:
    """The crontab; empty where there is none."""
    if _command() is None:
        return ""
    listed = _crontab("-l")
    # Who may not have one has none; that is said when it is written.
    if listed.returncode != 0 and not re.search("no crontab for|not allowed to use", listed.stderr):
        raise GreenrError(f"the crontab cannot be read: {listed.stderr.strip()}")
    if not listed.stdout or listed.stdout.endswith("\n"):
        return listed.stdout
    return listed.stdout + "\n"


def _write(text: str) -> None:
    written = _crontab("-", text)
    if written.returncode != 0 or _read() != text:
        raise GreenrError(f"the crontab cannot be written: {written.stderr.strip() or 'it reads otherwise'}")
