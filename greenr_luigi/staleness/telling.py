"""What a stage tells people, in the log and on luigid's page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import luigi

logger = logging.getLogger("luigi-interface")


class Telling(luigi.Task):
    """A task that tells how far it is."""

    #: Why it runs, which luigid shows below whatever it is doing.
    because = ""

    @property
    def title(self) -> str:
        """What to call this stage among others of its graph."""
        return str(self.task_family)

    def tell(self, words: str, fraction: float | None = None) -> None:
        """Say in the log and in luigid how far the work is. `fraction`: from 0 to 1."""
        # Luigi lends a task these two for as long as it runs.
        if callback := getattr(self, "set_status_message", None):
            # luigid's page takes a status for markup when it looks again; parameters and errors it shows as text.
            callback((words + self.because).replace("<", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"))
        if fraction is not None:
            percent = round(100 * fraction)
            words = f"{self.title} {percent:3d} %  {words}"
            if callback := getattr(self, "set_progress_percentage", None):
                callback(percent)
        logger.info("%s", words)

    def on_progress(self) -> Callable[[float, str], None]:
        """A callback for plain functions that know no Luigi; passes on at most one message a second."""
        last = 0.0

        def progress(fraction: float, words: str) -> None:
            nonlocal last
            if fraction >= 1 or time.monotonic() - last > 1:
                last = time.monotonic()
                self.tell(words, fraction)

        return progress
