"""How far a long step has come, told to a caller."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Called with the fraction done, 0 to 1, and what is being done, in words.
OnProgress = Callable[[float, str], None]


def quiet(fraction: float, words: str) -> None:
    """The OnProgress that does nothing."""


class Progress:
    """Passes on what it is told at most once in `every` seconds (a caller may ask a scheduler over the
    network), and always the first and the last word."""

    def __init__(self, name: str, on_progress: OnProgress, every: float = 1.0) -> None:
        self.name, self.on_progress, self.every = name, on_progress, every
        self.said = -every

    def __call__(self, fraction: float, words: str) -> None:
        now = time.monotonic()
        if now - self.said < self.every and fraction < 1:
            return
        self.said = now
        self.on_progress(fraction, words)
