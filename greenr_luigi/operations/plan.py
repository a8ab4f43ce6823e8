"""What a schedule runs in a folder with a luigi.cfg, and when."""

from __future__ import annotations

import datetime
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi.errors import GreenrError

TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
#: The page's settings, where modules of one's own lie, and the way to the internet.
CHANGING = re.compile(r"GREENR_[A-Z_]+|PYTHONPATH|(http|https|all|no)_proxy", re.IGNORECASE)
#: Hours of the day, of which each folder has its own minute: a machine does not run all of its pipelines at once.
FIRST_HOUR, HOURS = 1, 5


@dataclass(frozen=True)
class Plan:
    """`folder`: where; `root`: the data root; `greenr`: the command up to its word, by absolute paths; `environment`:
    the variables that it needs; `hour`, `minute`: when, by the machine's clock; `at_asked`: a person has
    said so now; `dashboard`: whether that starts with the machine, as the page does."""

    folder: Path
    root: Path
    greenr: Sequence[str]
    environment: dict[str, str]
    hour: int
    minute: int
    at_asked: bool = False
    dashboard: bool = False


def plan(folder: Path, root: Path, options: Sequence[str], at: str | None) -> Plan:
    """`options`: for greenr, in front of the command; `at`: such as 04:17, None for a time of the folder's own.

    Raises GreenrError for a folder without luigi.cfg and a time that is none."""
    folder = folder.resolve()
    elsewhere = os.environ.get("LUIGI_CONFIG_PATH")
    if not elsewhere and not (folder / "luigi.cfg").is_file():
        raise GreenrError(
            f"{folder} has no luigi.cfg: `greenr init` writes one, which says what is to be run"
        )
    if at is None:
        number = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4]) % (60 * HOURS)
        hour, minute = FIRST_HOUR + number // 60, number % 60
    elif found := TIME.fullmatch(at):
        hour, minute = int(found[1]), int(found[2])
    else:
        raise GreenrError(f"--at {at}: expected a time of day such as 04:17")
    return Plan(
        folder,
        folder / root,
        [sys.executable, "-m", "greenr_luigi.cli", *options],
        {"LUIGI_CONFIG_PATH": str(Path(elsewhere).absolute())} if elsewhere else {},
        hour,
        minute,
        at_asked=at is not None,
    )


def left_behind() -> list[str]:
    """The variables of this environment that change what is run, and that no schedule has."""
    return sorted(name for name in os.environ if CHANGING.fullmatch(name))


def next_time(hour: int, minute: int, now: datetime.datetime) -> datetime.datetime:
    """When it is that time of day next."""
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + datetime.timedelta(days=1)
