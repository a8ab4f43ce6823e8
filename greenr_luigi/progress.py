"""How far a long step has come, told to a caller."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the fraction done, 0 to 1, and what is being done, in words.
OnProgress = Callable[[float, str], None]


def part(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """An OnProgress for a step that takes the work from the fraction `start` to `end`."""
    return lambda fraction, words: on_progress(start + (end - start) * fraction, words)
