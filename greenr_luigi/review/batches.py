"""Decisions over many pictures at once: taken down whole or not at all, and taken back as a whole."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi.dataset import curation, decisions
from greenr_luigi.dataset.curation import Decision
from greenr_luigi.dataset.decisions import Curation, CurationError
from greenr_luigi.review.catalogue import Picture
from greenr_luigi.review.digits import Digits
from greenr_luigi.review.states import KEPT, OUT, SAID_NOTHING, TAKEN_BACK, state_of

#: Verdicts; "=" and a label is another.
REJECT, KEEP, RESTORE = "reject", "keep", "restore"


@dataclass(frozen=True)
class Batch:
    """What was said at once. `words`: for a person, "12 thrown out"; `lines`: of curation.csv."""

    number: int
    words: str
    lines: str
    size: int


class Batches:
    """Those of one page. Several threads may use it."""

    def __init__(self, root: Path) -> None:
        self.root, self.digits = root, Digits()
        self._done: list[Batch] = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many decisions there are."""
        return sum(batch.size for batch in self._done)

    @property
    def last(self) -> Batch | None:
        return self._done[-1] if self._done else None

    def decide(self, verdict: str, shown: Mapping[Picture, str]) -> str:
        """Takes a verdict on pictures down. `shown`: the state of each (states.py) that the person saw. Returns words.
        Raises CurationError, with nothing taken down, if one of them has another state by now."""
        to = {REJECT: OUT, KEEP: KEPT, RESTORE: SAID_NOTHING}.get(verdict, verdict)
        changing = [picture for picture, state in shown.items() if state != to]
        if verdict == KEEP:
            # That a relabelled one is right has been said.
            changing = [picture for picture in changing if not shown[picture].startswith("=")]
        elif verdict == RESTORE:
            # What was added and taken back is back when it is kept.
            changing = [picture for picture in changing if shown[picture] != TAKEN_BACK]

        def check(now: Curation) -> None:
            others = sum(state_of(picture.row.sha256, now) != state for picture, state in shown.items())
            if others:
                raise CurationError(
                    f"{others:,} of the {len(shown):,} were decided elsewhere meanwhile: look again, "
                    "nothing was changed"
                )

        if not changing:
            check(decisions.read_curation(self.root / decisions.FILE))
            return "nothing to change: that was said of them before"
        words = f"{len(changing):,} {_words(verdict)}"
        with self._lock:
            said = [_decision(verdict, one) for one in changing]
            lines = curation.decide(self.root, said, check=check)
            self._done.append(Batch(next(self._numbers), words, lines, len(changing)))
        if verdict.startswith("="):
            self.digits.use(verdict.removeprefix("="))
        return words

    def take_back(self, number: int) -> str:
        """Takes the last batch back, as if it had never been said. Returns words. Raises CurationError if that is
        another one, or its lines have been edited since."""
        with self._lock:
            if self.last is None or self.last.number != number:
                raise CurationError("something else was decided or taken back meanwhile: look again")
            batch = self.last
            found = decisions.take_back(self.root, batch.lines)
            self._done.pop()
            if not found:
                raise CurationError(
                    f"{self.root / decisions.FILE} was edited since, where it says {batch.words}: it stays as it is"
                )
        return f"taken back: {batch.words}"


def _decision(verdict: str, picture: Picture) -> Decision:
    """The line that says so."""
    sha256 = picture.row.sha256
    if verdict == REJECT:
        return Decision(verdict, sha256, "".join(picture.row.perceptual_hash))
    if verdict in (KEEP, RESTORE):
        return Decision(verdict, sha256)
    return Decision("relabel", sha256, to=verdict.removeprefix("="))


def _words(verdict: str) -> str:
    words = {REJECT: "thrown out", KEEP: "kept as they are", RESTORE: "as if nothing had been said"}
    return words.get(verdict, f"called {verdict.removeprefix('=')}")
