"""The schedule by systemd: units for each folder, of which `unit_texts` tells."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from greenr_luigi import files
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.plan import Plan
from greenr_luigi.operations.unit_texts import head_of, is_system, name_of, texts
from greenr_luigi.staleness import regular

SYSTEM = Path("/etc/systemd/system")
#: That systemd runs this machine (sd_booted(3)).
BOOTED = Path("/run/systemd/system")


def install(plan: Plan) -> None:
    """Write the units, in place of what the folder has, and have systemd start them.

    Raises GreenrError where no systemd answers, with the units."""
    before = _folder() / f"{name_of(plan.folder)}.timer"
    units = texts(plan, regular.read(before).decode() if _ours(before, plan.folder) else "")
    told = "".join(f"\n# {_folder() / name}\n{text}" for name, text in units.items())
    if not BOOTED.is_dir():
        raise GreenrError(
            f"systemd does not run this machine: leave out --systemd and use cron. Where it does, put there:\n{told}"
        )
    answer = _systemctl("show", "--property=Version")
    if answer.returncode != 0:
        raise GreenrError(
            f"systemd does not answer ({answer.stderr.strip()}): log in as this user and not with su, or run "
            f"`sudo loginctl enable-linger {_user()}` before. What would be installed:\n{told}"
        )
    for name in units:
        path = _folder() / name
        if path.exists() and not _ours(path, plan.folder):
            raise GreenrError(f"{path} is not of greenr: rename it")
    _folder().mkdir(parents=True, exist_ok=True)
    _take_away([path for path in _there(plan.folder) if path.name not in units])
    for name, text in units.items():
        files.write(_folder() / name, text.encode())
        (_folder() / name).chmod(0o644)
    _, timer, *staying = units
    _do("daemon-reload")
    _do("enable", "--quiet", timer, *staying)
    _do("restart", timer)
    _do("start", "--no-block", *staying)


def remove(folder: Path) -> bool:
    """Take the folder's units away; False if there were none. What they have started goes on."""
    there = _there(folder)
    if there and BOOTED.is_dir():
        _systemctl("stop", f"{name_of(folder)}.timer")
    _take_away(there)
    if there and BOOTED.is_dir():
        _systemctl("daemon-reload")
    return bool(there)


def _take_away(units: Iterable[Path]) -> None:
    for path in units:
        # What `systemctl enable` has made, by itself where no systemd runs.
        for link in _folder().glob("*.wants/" + path.name):
            link.unlink()
        path.unlink()


def installed(folder: Path) -> str:
    """Which units a folder has, and when it runs next; empty if none."""
    there = _there(folder)
    if not there:
        return ""
    timer = _systemctl("show", "--property=NextElapseUSecRealtime", "--value", f"{name_of(folder)}.timer")
    lines = [*map(str, there), f"next run: {timer.stdout.strip() or 'never: the timer is not active'}"]
    if not is_system() and not _lingers():
        lines.append(
            f"only while {_user()} is logged in, until `sudo loginctl enable-linger {_user()}` is run once"
        )
    return "\n".join([*lines, ""])


def variables(folder: Path) -> set[str]:
    """Those that the unit of a run sets, edits of a person (`systemctl edit`) included."""
    told = _systemctl("show", "--property=Environment", "--value", f"{name_of(folder)}.service").stdout
    return set(re.findall(r"(?:^| )\"?(\w+)=[^ \"]", told))


def _ours(path: Path, folder: Path) -> bool:
    return path.is_file() and regular.read(path).decode(errors="replace").startswith(head_of(folder))


def _there(folder: Path) -> list[Path]:
    endings = (".service", ".timer", "-page.service", "-dashboard.service")
    return [path for ending in endings if _ours(path := _folder() / f"{name_of(folder)}{ending}", folder)]


def _folder() -> Path:
    if is_system():
        return SYSTEM
    given = os.environ.get("XDG_CONFIG_HOME")
    return (Path(given) if given else Path.home() / ".config") / "systemd" / "user"


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return _run("systemctl", *([] if is_system() else ["--user"]), *words)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        return subprocess.CompletedProcess(command, 127, "", f"there is no {command[0]}")
    # As it is where someone has logged in.
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}", **os.environ, "LC_ALL": "C"}
    return subprocess.run(command, text=True, capture_output=True, env=environment)


def _do(*words: str) -> None:
    done = _systemctl(*words)
    if done.returncode != 0:
        raise GreenrError(f"`systemctl {' '.join(words)}`: {done.stderr.strip()}")


def _lingers() -> bool:
    """Whether this user's manager runs without a login."""
    shown = _run("loginctl", "show-user", "--property=Linger", "--value", _user())
    return shown.stdout.strip() == "yes"


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
