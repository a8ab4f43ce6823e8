"""How far a long step has come, told to a caller."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the fraction done, 0 to 1, and what is being done, in words.
OnProgress = Callable[[float, str], None]


def quiet(fraction: float, words: str) -> None:
    """The OnProgress that does nothing."""
