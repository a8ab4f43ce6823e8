"""What looks at stages have found, for as long as it holds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable

#: Seconds: an answer that took less to find is not worth remembering.
QUICK = 0.05


class Looks:
    """Each stage asks those below it, and Luigi asks every stage in turn: a recursive look costs the square of the
    depth unless it is remembered, and a remembered one must not outlive a change. So within one look a stage is looked
    at once; and an answer that took long to find is remembered for as long as it took, since what changes within that
    time may have been missed by the look itself."""

    def __init__(self) -> None:
        #: By stage: until when its answer holds on the monotonic clock, the answer, and the seconds it took to find.
        self.answers: dict[Hashable, tuple[float, str | None, float]] = {}
        #: The stages that are being looked at now, the outermost first.
        self.looking: list[Hashable] = []

    def forget(self) -> None:
        """Forget what looks have found."""
        self.answers.clear()

    def at(self, stage: Hashable, look: Callable[[], str | None]) -> str | None:
        """What `look` finds, or has found of this stage while that holds."""
        start = time.monotonic()
        if stage in self.answers and start < self.answers[stage][0]:
            return self.answers[stage][1]
        self.looking.append(stage)
        try:
            found = look()
            self.answers[stage] = (math.inf, found, time.monotonic() - start)
        finally:
            self.looking.pop()
            if not self.looking:
                self.settle()
        return found

    def settle(self) -> None:
        """The outermost look has ended: its answers hold for as long as each took."""
        now = time.monotonic()
        for stage, (until, answer, took) in list(self.answers.items()):
            if until == math.inf:
                self.answers[stage] = (now + took if took > QUICK else 0.0, answer, took)
