"""What is refused to a run that collects a class: where it is killed, the next one asks for none of it again.

collected/<label>/.refused.jsonl    a Refused a line, until the class is collected or cannot be
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from greenr_luigi import about, contracts, files
from greenr_luigi.pictures.manifest import Refusal
from greenr_luigi.sources.source import PASSING, Candidate, Request
from greenr_luigi.staleness import regular

NAME = ".refused.jsonl"
#: Seconds after the last of it for which it stands: what was not there may be put there meanwhile.
STANDS = 3600.0
#: What was refused without asking.
NOT_ASKED = ("address", "inside", "deleted", "damaged")


@dataclass(frozen=True)
class Refused(Refusal):
    """`when`: in seconds since 1970; `terms`: on which it was asked for."""

    when: float = 0.0
    terms: str = ""


class SoFar:
    """`folder`: the store's of the class; None for a source that is asked for everything each time. `before`: what a
    run that was killed was refused on the same terms, by address; nothing if `anew`."""

    def __init__(self, folder: Path | None, request: Request, anew: bool = False) -> None:
        self._path, self._terms = folder and folder / NAME, terms(request)
        self._unsaved: list[Refused] = []
        self.before: Mapping[str, Refusal] = {}
        if self._path:
            found = contracts.read_log(self._path, Refused)
            if anew or not stands(max((row.when for row in found), default=0.0)):
                self.end()
            else:
                self.before = {
                    row.file_url: Refusal(row.reason, row.message, row.file_url)
                    for row in found
                    if row.terms == self._terms and row.file_url
                }

    def note(self, candidate: Candidate, refusal: Refusal) -> None:
        """In which line it stands is another matter the next time."""
        reason, known = refusal.reason, candidate.file_url in self.before
        if self._path and not (known or reason in NOT_ASKED or PASSING.search(reason)):
            message = refusal.message.removeprefix(candidate.placed(""))
            self._unsaved.append(Refused(reason, message, candidate.file_url, time.time(), self._terms))

    def flush(self) -> None:
        """A power cut may take it: it is asked for again then."""
        if self._path and self._unsaved:
            files.refuse_link(self._path)
            with regular.opened(self._path, "ab") as file:
                file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in self._unsaved))
            self._unsaved.clear()

    def end(self) -> None:
        if self._path:
            self._path.unlink(missing_ok=True)


def stands(since: float) -> bool:
    """Whether what a run before has left counts, of which the last came then (seconds since 1970)."""
    return abs(time.time() - since) <= STANDS


def terms(request: Request) -> str:
    """On others, what was refused may be taken."""
    heic = importlib.util.find_spec("pillow_heif") is not None
    of = (about.version(), request.min_side, request.opt_outs, heic, *map(str, request.allow))
    return " ".join(map(str, of))
