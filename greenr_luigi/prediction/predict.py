"""All pictures of a folder or list, answered as the page answers each: by the release that serves, and its door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from greenr_luigi import cores
from greenr_luigi.export.model_card import read_card
from greenr_luigi.prediction.inputs import inputs
from greenr_luigi.prediction.journal import Journal
from greenr_luigi.prediction.rows import FoundBefore, Row
from greenr_luigi.prediction.workers import Workers
from greenr_luigi.serving import rollout
from greenr_luigi.web.settings import Settings


class Prediction:
    """Of the folder or list `given`, by the release that serves now, whichever does later: `digest`, with its
    `classes`. `total`: how many pictures there are. `written`: as in `inputs`. `tell`: hears what went wrong.

    Raises GreenrError if there is no release, or `given` is neither a folder nor a list."""

    def __init__(
        self,
        root: Path,
        given: Path,
        settings: Settings,
        written: Path | None,
        tell: Callable[[str], object],
    ) -> None:
        self.root, self.given, self.settings, self.written, self.tell = root, given, settings, written, tell
        digest = rollout.last_good(settings.store)
        if digest is None:
            raise rollout.none_has_served(settings.store)
        self.digest, self.classes = digest, read_card(settings.store / digest).classes
        self.total = sum(1 for _ in inputs(given, written))
        #: How many of the rows so far a run that was ended early had found.
        self.taken = 0

    def rows(self) -> Iterator[Row]:
        """In the order of the inputs; by all cores. What has come is kept for the next run, until all has."""
        with (
            Workers(self.settings, self.digest, cores.allowed()) as workers,
            Journal(self.root, self.given, self.digest, self.tell) as journal,
        ):
            for found in workers.answers(journal.known(inputs(self.given, self.written))):
                journal.note(found)
                self.taken += isinstance(found, FoundBefore)
                yield found.row
            journal.end()
