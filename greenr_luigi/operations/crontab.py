"""The schedule by cron: a few lines in the crontab of whoever asks, for each folder."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.plan import Plan, next_time
from greenr_luigi.staleness import regular

#: Of the lines of a folder: one that sets a variable, and the one that runs, whenever a person has it do so.
SETS = re.compile(r"^[ \t]*([A-Za-z_]\w*)[ \t]*=(.*)$", re.MULTILINE)
RUNS = re.compile(
    r"^[ \t]*(?P<when>@(?!reboot)\w+|(?:[^\s#@]\S*[ \t]+){4}\S+)[ \t]+cd .* run\b", re.MULTILINE
)

#: What cron is called where it runs: Debian's and cronie's, busybox' and dcron's, fcron's.
CRONS = {"cron", "crond", "fcron"}
PROCESSES = Path("/proc")
#: systemd-cron has timers made of a crontab, and runs as no process.
GENERATORS = [
    Path(lib, "systemd/system-generators/systemd-crontab-generator") for lib in ("/lib", "/usr/lib")
]


def install(plan: Plan) -> None:
    """Put the lines into the crontab, in place of what the folder has there; but variables that a person has set among
    them stay, and times that are not asked for anew. Raises GreenrError if there is no cron."""
    before = _read()
    lines = block(plan, before)
    if _command() is None:
        raise GreenrError(
            "there is no crontab on this machine: install cron, or use --systemd. Where something else starts "
            f"commands, have it run these:\n{lines}"
        )
    _write(_without(before, plan.folder) + lines)


def remove(folder: Path) -> bool:
    """Take the folder's lines out of the crontab; False if there were none."""
    before = _read()
    after = _without(before, folder)
    if after != before:
        _write(after)
    return after != before


def installed(folder: Path) -> str:
    """What the crontab says of a folder, and when it runs next; empty if nothing."""
    crontab = _read()
    _without(crontab, folder)
    found = _pattern(folder).search(crontab)
    if found is None:
        return ""
    daily = re.search(r"^([0-5]?\d) ([01]?\d|2[0-3]) \* \* \* ", found[0], re.MULTILINE)
    if daily is None:
        return f"{found[0]}next run: as these lines say, which were edited\n"
    minute, hour = map(int, daily.groups())
    return f"{found[0]}next run: {next_time(hour, minute, datetime.datetime.now()):%Y-%m-%d %H:%M}\n"


def asleep(folder: Path) -> bool:
    """Whether a folder has lines in the crontab, and nothing runs here that would read them, as in a container or WSL.
    Where processes of others are not shown, nobody can tell: False."""
    if any(path.exists() for path in GENERATORS) or not _pattern(folder).search(_read()):
        return False
    names = set()
    for comm in PROCESSES.glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            names.add(regular.read(comm).decode(errors="replace").strip())
    return os.access(PROCESSES / "1/comm", os.R_OK) and not names & CRONS


def variables(folder: Path) -> set[str]:
    """Those that the crontab sets, to something."""
    return {match[1] for match in SETS.finditer(_read()) if match[2].strip("\"' \t")}


def block(plan: Plan, crontab: str = "") -> str:
    """The lines of a crontab. They rely on no PATH, HOME, locale or working directory. `crontab`: as it was."""
    folder = plan.folder
    if "\n" in str(folder):
        raise GreenrError(f"{folder}: a crontab has no way to name a folder with a line break: rename it")
    settings = [f"{name}={value}" for name, value in plan.environment.items()]
    greenr = [*(["env", *settings] if settings else []), *plan.greenr]
    run, *starts = (
        f"cd {shlex.quote(str(folder))} && {shlex.join([*greenr, *words])}"
        for words in (("run",), ("start", "--unless-stopped"), *([("dashboard",)] if plan.dashboard else ()))
    )
    when, kept = f"{plan.minute} {plan.hour} * * *", list[str]()
    if found := _pattern(folder).search(crontab):
        kept = [match[0] for match in SETS.finditer(found[0])]
        edited = RUNS.search(found[0])
        when = edited["when"] if edited and not plan.at_asked else when
    # cron takes a bare % for a line break.
    commands = [f"{when} {run}", *(f"@reboot {start}" for start in starts)]
    lines = [line.replace("%", r"\%") for line in commands]
    return "\n".join([_begin(folder), *kept, *lines, _end(folder), ""])


def _begin(folder: Path) -> str:
    return f"# greenr in {folder}: `greenr schedule remove` takes these lines away"


def _end(folder: Path) -> str:
    return f"# end of greenr in {folder}"


def _pattern(folder: Path) -> re.Pattern[str]:
    begin, end = re.escape(_begin(folder)), re.escape(_end(folder))
    return re.compile(rf"^{begin}\n(?:(?!# greenr in ).*\n)*?{end}\n", re.MULTILINE)


def _without(crontab: str, folder: Path) -> str:
    """Raises GreenrError where a person's edit has left one of the two comments: nobody knows what is ours there."""
    left, ends = _pattern(folder).sub("", crontab), (_begin(folder), _end(folder))
    for end in ends:
        if re.search(rf"^{re.escape(end)}\s*$", left, re.MULTILINE):
            raise GreenrError(
                f"the crontab has a line `{end}` without its other: delete it and our lines there with `crontab -e`"
            )
    return left


def _command() -> str | None:
    return shutil.which("crontab", path=os.environ.get("PATH", os.defpath))


def _crontab(argument: str, text: str = "") -> tuple[int, str, str]:
    """Its exit status, and what it says on both ways. Lines of others keep their bytes, line ends of Windows too."""
    done = subprocess.run(
        [_command() or "crontab", argument],
        input=os.fsencode(text),
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


def _read() -> str:
    """The crontab; empty where there is none."""
    if _command() is None:
        return ""
    status, listed, said = _crontab("-l")
    # Who may not have one has none; that is said when it is written.
    if status != 0 and not re.search("no crontab for|not allowed to use", said):
        raise GreenrError(f"the crontab cannot be read: {said.strip()}")
    return listed if not listed or listed.endswith("\n") else f"{listed}\n"


def _write(text: str) -> None:
    status, _, said = _crontab("-", text)
    if status != 0 or _read() != text:
        raise GreenrError(f"the crontab cannot be written: {said.strip() or 'it reads otherwise'}")
