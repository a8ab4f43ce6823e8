"""The schedule: two lines in the crontab of whoever asks, for each folder with a luigi.cfg."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from greenr_luigi.errors import GreenrError

TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
#: Hours of the day, of which each folder has its own minute: a machine does not run all of its pipelines at once.
FIRST_HOUR, HOURS = 1, 5


def install(folder: Path, options: Sequence[str], at: str | None) -> str:
    """Have cron run the pipeline of a folder every day, and bring its page up when the machine starts. Returns what the
    crontab says of it. `options`: for greenr, in front of the command; `at`: such as 04:17, None for a time of the
    folder's own. What was installed for the folder before goes, and nothing else in the crontab is touched.

    Raises GreenrError for a folder without luigi.cfg, a time that is none, and where there is no cron."""
    folder = folder.resolve()
    if not (folder / "luigi.cfg").is_file() and "LUIGI_CONFIG_PATH" not in os.environ:
        raise GreenrError(
            f"{folder} has no luigi.cfg: `greenr init` writes one, which says what is to be run"
        )
    lines = block(folder, options, at)
    _write(_without(_read(lines), folder) + lines)
    return lines


def remove(folder: Path) -> bool:
    """Take the folder's lines out of the crontab; False if there were none."""
    before = _read("")
    after = _without(before, folder.resolve())
    if after != before:
        _write(after)
    return after != before


def installed(folder: Path) -> str:
    """What the crontab says of a folder; empty if nothing."""
    found = _pattern(folder.resolve()).search(_read(""))
    return found[0] if found else ""


def block(folder: Path, options: Sequence[str], at: str | None) -> str:
    """The lines of a crontab. They rely on no PATH, HOME, locale or working directory."""
    if "\n" in str(folder):
        raise GreenrError(f"{folder}: a crontab has no way to name a folder with a line break: rename it")
    if at is None:
        number = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4]) % (60 * HOURS)
        hour, minute = FIRST_HOUR + number // 60, number % 60
    elif found := TIME.fullmatch(at):
        hour, minute = int(found[1]), int(found[2])
    else:
        raise GreenrError(f"--at {at}: expected a time of day such as 04:17")
    settings = [
        f"LUIGI_CONFIG_PATH={Path(path).absolute()}" for path in [os.environ.get("LUIGI_CONFIG_PATH")] if path
    ]
    greenr = [*(["env", *settings] if settings else []), sys.executable, "-m", "greenr_luigi.cli", *options]
    run, start = (
        f"cd {shlex.quote(str(folder))} && {shlex.join([*greenr, word])}" for word in ("run", "start")
    )
    # cron takes a bare % for a line break.
    lines = [f"{minute} {hour} * * * {run}", f"@reboot {start}"]
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


def _crontab(argument: str, lines: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = shutil.which("crontab", path=os.environ.get("PATH", os.defpath))
    if command is None:
        told = f". Where something else starts commands, have it run these:\n{lines}" if lines else ""
        raise GreenrError(f"there is no crontab on this machine: install cron{told}")
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        [command, argument],
        input=text,
        text=True,
        errors="surrogateescape",
        capture_output=True,
        env=environment,
    )


def _read(lines: str) -> str:
    listed = _crontab("-l", lines)
    if listed.returncode != 0 and "no crontab for" not in listed.stderr:
        raise GreenrError(f"the crontab cannot be read: {listed.stderr.strip()}")
    if not listed.stdout or listed.stdout.endswith("\n"):
        return listed.stdout
    return listed.stdout + "\n"


def _write(text: str) -> None:
    written = _crontab("-", "", text)
    if written.returncode != 0 or _read("") != text:
        raise GreenrError(f"the crontab cannot be written: {written.stderr.strip() or 'it reads otherwise'}")
