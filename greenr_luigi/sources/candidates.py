"""What a source is asked, and what it offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class SourceError(RuntimeError):
    """A source brings nothing, or too little. The message says what was asked, what came, and what to try."""


class Interrupted(RuntimeError):
    """A source ends before its time, such as for a fault of the network; what it listed until then stands."""


class Unavailable(RuntimeError):
    """One candidate cannot be loaded. `reason` is a short constant word, the message is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Request:
    """`limit` pictures of `label`, searched for as `query`; a source may list more, as not all will be
    usable.

    `folder` is a person's own place (sources urls and folder), `license` one of licenses.KINDS or None for
    any.
    """

    label: str
    query: str
    limit: int
    folder: Path | None = None
    seed: int = 0
    license: str | None = None


@dataclass(frozen=True)
class Candidate:
    """What may be a picture. `load` gives its bytes, at most pictures.MAX_BYTES of them and one, or raises
    Unavailable. `file_url` names it to a person and finds it again: an address, a path within the folder, or
    a drawing's number."""

    load: Callable[[], bytes]
    engine: str
    query: str | None
    file_url: str
    page_url: str | None = None
    license: str | None = None
    #: Whether it is of a moment: such a picture is stamped with the time it was loaded at.
    dated: bool = False
