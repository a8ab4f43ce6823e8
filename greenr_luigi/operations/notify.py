"""A person is told what matters of `greenr run`: that it failed or its model was refused, once (`notices`), and that it
is mended. Whatever goes wrong in telling fails no run.

Luigi is not imported: where luigi.cfg does not parse, that is told."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from greenr_luigi import contracts, files, luigi_cfg, run_history
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.notices import Found, Known, Notice, notice
from greenr_luigi.operations.notifier import Address, Kind, addresses
from greenr_luigi.serving import history, processes, rollout
from greenr_luigi.staleness import data_root

FILE = "notified.json"
#: Memory, which has room and may be written to while the root has not, or is not there.
MEMORY = Path("/dev/shm")
DAY = 24 * 3600
#: What `greenr notify` sends.
TEST: tuple[str, str, Kind] = (
    "greenr: a test",
    "This address hears when `greenr run` fails or a new model is refused, and when that is mended.",
    "info",
)
#: Lines of the end of a log in a message.
LINES = 30


@dataclass(frozen=True)
class Notified:
    """notified.json: by address (`Address.key`), what is known of faults, and told."""

    addresses: dict[str, dict[str, Known]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a `greenr run` ended. `found`: what is wrong, by fault (run_history.fault_of); `well`: whether it came to its
    end; `log`: where all of it stands, if it came so far, and `tail`, the end of that."""

    root: Path
    found: Mapping[str, Found]
    well: bool
    outcome: str = "failed"
    log: Path | None = None
    tail: Sequence[str] = ()


def tell(ended: Ended, to: Sequence[Address], log: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Tell what is due. `log` gets that, and `say` what could not be told, which the next run tries again."""
    now, known, after = time.time(), _read(ended.root), {}
    for address in to:
        due = notice(known.get(address.key, {}), ended.found, ended.well, now)
        why_not = None
        if due:
            title, body, kind = message(ended, due)
            if (why_not := address.send(title, body, kind)) is None:
                log(f"told {address.name}: {title}")
            else:
                for tells in (log, say):
                    tells(f"could not tell {address.name}, the next run tries again: {why_not}")
        after[address.key] = due.told if why_not is None else due.untold
    if after != known:
        _write(ended.root, Notified(after), say)


class Watch:
    """Tells of what ends a `greenr run` with an error, such as a luigi.cfg that does not parse: what a run notes itself
    is told by the run. `root`: None before it is known."""

    def __init__(self, root: Callable[[], Path | None], say: Callable[[str], None]) -> None:
        self.root, self.say = root, say

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        # Who interrupts it knows, and who reads no further does, too.
        if not isinstance(error, Exception) or isinstance(error, BrokenPipeError):
            return
        fault = run_history.fault_of("greenr run", error)
        words = str(error) if isinstance(error, GreenrError) else f"{type(error).__name__}: {error}"
        try:
            to = addresses()
        except GreenrError as unreadable:
            return self.say(f"nobody is told: {unreadable}")
        ended = Ended(self.root() or _probable_root(), {fault: Found(f"greenr run: {words}")}, well=False)
        tell(ended, to, lambda _: None, self.say)


def message(ended: Ended, due: Notice) -> tuple[str, str, Kind]:
    """The title of a message, its body, and what it is about."""
    here, host = Path().absolute(), socket.gethostname()
    kind: Kind = "success"
    what = "well again"
    if due.going_on:
        kind = "failure"
        what = "a new model was refused" if ended.outcome == "refused" else "the run failed"
        if all(known.patient for known in due.going_on.values()):
            kind, what = "warning", "something has been wrong for a week"
    parts = [f"In {here} on {host}, {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."]
    for fault, known in due.going_on.items():
        lasting = f" (for {_days(known.lasted)} now)" if known.lasted >= DAY else ""
        parts.append(f"{ended.found[fault].because}{lasting}")
    for known in due.mended.values():
        lasted = f", after {_days(known.lasted)}" if known.lasted >= DAY else ""
        parts.append(f"Mended{lasted}: {known.because}")
    # Two stages that failed are two faults, and told in the same words.
    parts = [*dict.fromkeys(parts), page(ended.root)]
    if due.going_on:
        parts.append(
            "Nothing more is said of it while it goes on, but for once a week, and once when it is mended. "
            f"The next run tries again, or now: cd {here} && greenr run. `greenr history` tells what ran."
        )
        if ended.log:
            parts.append("\n".join([f"The end of {ended.log}:", *ended.tail[-LINES:]]))
    return f"{here.name or here} on {host}: {what}", "\n\n".join(parts), kind


def page(root: Path) -> str:
    """For how long the page has been on its model."""
    store = root / "releases"
    if missing := data_root.why_not_ours(root):
        return f"What the page serves cannot be told: {missing}"
    try:
        since = history.since(store)
        is_up = bool(processes.servers(root / "server"))
        digest = rollout.current(store)
    except (OSError, GreenrError) as error:
        return f"What the page serves cannot be told: {error}"
    if digest is None:
        return "The page has no model yet."
    lasting = ""
    # It is not noted, or what somebody has written there is no time.
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        lasting = f" for {_days(time.time() - datetime.datetime.fromisoformat(since[digest]).timestamp())}"
    down = "" if is_up else ", and is down"
    return f"The page has been on its model, release {digest},{lasting}{down}."


def _days(seconds: float) -> str:
    days = max(0, int(seconds // DAY))
    return "1 day" if days == 1 else f"{days} days"


def _probable_root() -> Path:
    """Where luigi.cfg does not parse."""
    config = luigi_cfg.readable()
    written = (config.get(section, "root", raw=True, fallback="") for section in config.sections())
    root = Path(next(filter(None, written), "data"))
    with contextlib.suppress(RuntimeError):
        root = root.expanduser()
    return root.absolute()


def _places(root: Path) -> Iterator[Path]:
    """Where what is known stands: in the root, and, where it cannot be written there, in a folder in memory."""
    if data_root.why_not_ours(root) is None:
        yield root / FILE
    folder = MEMORY / f"greenr-{os.geteuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        # Anybody may make a folder of that name before.
        if status.st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink():
            yield folder / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"


def _read(root: Path) -> dict[str, dict[str, Known]]:
    """What stands in memory is newer."""
    known: dict[str, dict[str, Known]] = {}
    for place in _places(root):
        # A torn one, which is written whole, or one that may not be read: a fault is told once more.
        with contextlib.suppress(OSError, GreenrError):
            for address, faults in contracts.read(place, Notified).addresses.items():
                known[address] = known.get(address, {}) | faults
    return known


def _write(root: Path, notified: Notified, say: Callable[[str], None]) -> None:
    why_not = None
    for number, place in enumerate(places := [*_places(root)]):
        try:
            contracts.write(place, notified)
            files.make_private(place)
        except OSError as error:
            why_not = error
            continue
        for older in places[number + 1 :]:
            older.unlink(missing_ok=True)
        return
    say(f"what was told could not be noted, and may be told again: {why_not}")
