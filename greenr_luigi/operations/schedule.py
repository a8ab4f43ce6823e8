"""The schedule of a folder: a run every day, and its page, and dashboard, when the machine starts; by cron or by
systemd."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from greenr_luigi.operations import crontab, units
from greenr_luigi.operations.plan import plan


def install(
    folder: Path,
    root: Path,
    options: Sequence[str],
    at: str | None,
    by_systemd: bool,
    dashboard: bool = False,
) -> str:
    """Have the pipeline of a folder run every day, and its page brought up when the machine starts. What was installed
    for the folder before goes, by either way. Returns what is installed now. `options` and `at`: as for `plan`;
    `dashboard`: whether that starts with the machine, too.

    Raises GreenrError where that cannot be, with what would have been installed."""
    new, other = (units, crontab) if by_systemd else (crontab, units)
    new.install(replace(plan(folder, root, options, at), dashboard=dashboard))
    other.remove(folder.resolve())
    return installed(folder)


def remove(folder: Path) -> bool:
    """Take away what was installed for a folder, and nothing else; False if nothing was. A page that is up stays so."""
    return any([crontab.remove(folder.resolve()), units.remove(folder.resolve())])


def unset(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of some variables that what is installed for a folder runs without."""
    folder = folder.resolve()
    by = [way for way in (crontab, units) if way.installed(folder)]
    given = {"HOME", "LOGNAME", "PATH", "SHELL"}.union(*(way.variables(folder) for way in by))
    return sorted({*names} - given) if by else []


def asleep(folder: Path) -> bool:
    """Whether what is installed for a folder waits for a cron that does not run."""
    return crontab.asleep(folder.resolve())


def installed(folder: Path) -> str:
    """What is installed for a folder, and when it runs next; empty if nothing is."""
    return crontab.installed(folder.resolve()) + units.installed(folder.resolve())
