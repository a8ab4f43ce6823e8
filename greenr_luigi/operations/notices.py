"""When a person hears of a fault: once, again while it lasts for another week, and once when it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

#: Seconds of silence after which the same is told again: 7 days, less the hours by which daily runs differ.
AGAIN = 6.5 * 24 * 3600


@dataclass(frozen=True)
class Found:
    """What a run found wrong, in words. `patient`: it is told only once it has lasted for a week."""

    because: str
    patient: bool = False


@dataclass(frozen=True)
class Known:
    """A fault that was found, and was not mended when it was last looked at (`clock`, seconds since 1970). `lasted`:
    seconds since it was first found; `quiet`: seconds since it was told, None if it was not. Both count the steps of
    the clock from one look to the next, of which those backwards are none: a clock that is set back makes nothing be
    told earlier, and silences nothing."""

    because: str
    clock: float
    patient: bool = False
    lasted: float = 0.0
    quiet: float | None = None

    def until(self, now: float) -> Known:
        step = max(0.0, now - self.clock)
        quiet = None if self.quiet is None else self.quiet + step
        return replace(self, clock=now, lasted=self.lasted + step, quiet=quiet)

    @property
    def due(self) -> bool:
        if self.quiet is None:
            return not self.patient or self.lasted >= AGAIN
        return self.quiet >= AGAIN


@dataclass(frozen=True)
class Notice:
    """What is to be told: the faults that go on, and those that are mended; nothing if both are empty. `told` and
    `untold`: what is known after that, if it could be told and if not."""

    going_on: dict[str, Known]
    mended: dict[str, Known]
    told: dict[str, Known]
    untold: dict[str, Known]

    def __bool__(self) -> bool:
        return bool(self.going_on or self.mended)


def notice(known: Mapping[str, Known], found: Mapping[str, Found], well: bool, now: float) -> Notice:
    """What is to be told after a run. `known`: what was so far, by fault; `found`: what this run found; `well`: whether
    it came to its end, for only that shows that a fault is mended: one that broke off may not have come so far.

    What could not be told is told by the next run: a fault that is mended by then, as mended."""
    fresh = {fault: Known(each.because, now, each.patient) for fault, each in found.items()}
    left = fresh | {fault: each.until(now) for fault, each in known.items()}
    gone = {fault: left.pop(fault) for fault in [*left] if well and fault not in found}
    going_on = {fault: left[fault] for fault in found if left[fault].due}
    # Who never heard of a warning need not hear of its end.
    mended = {fault: each for fault, each in gone.items() if each.quiet is not None or not each.patient}
    heard = {fault: replace(each, quiet=0.0) for fault, each in going_on.items()}
    return Notice(going_on, mended, told=left | heard, untold=left | mended)
