"""The digits by which a person calls classes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

MOST = 9


class Digits:
    """Those of one page, `1` to `9`. Up to nine classes have one each, in their order; of more, each gets the next free
    digit when it is used first. None changes its class as long as the page runs. Several threads may use it."""

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._lock = threading.Lock()

    def of(self, classes: Sequence[str]) -> list[str]:
        """The classes with a digit, in the order of these, from 1 on; of `classes` all, if there are enough."""
        with self._lock:
            new = [label for label in classes if label not in self._labels]
            if len(self._labels) + len(new) <= MOST:
                self._labels += new
            return [*self._labels]

    def use(self, label: str) -> None:
        with self._lock:
            if label not in self._labels and len(self._labels) < MOST:
                self._labels.append(label)
