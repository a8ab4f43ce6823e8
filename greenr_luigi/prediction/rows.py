"""What was said of one picture: a row of the result, as CSV, as JSON, or for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from greenr_luigi import tables
from greenr_luigi.staleness.shown import harmless
from greenr_luigi.text import percent

if TYPE_CHECKING:  # Takes long to import, and the process that writes rows has no need of it.
    from greenr_luigi.web.model import Answer

#: The columns of a CSV; then comes one for each class, `probability:<class>`, in the order of the model's outputs.
COLUMNS = ("path", "answer", "probability", "reason", "message", "release")
CANNOT_TELL, REFUSED = "can't tell", "refused"


@dataclass(frozen=True)
class Row:
    """`answer`: the class, None for "I can't tell" and where the picture was refused; then `reason` says why in a
    constant word and `message` in a sentence. `probability`: of the most probable class, 0 to 1; None where it was
    refused, as are the `probabilities`, the most probable first. `release`: the digest of the one that answers all."""

    path: str
    answer: str | None
    probability: float | None
    reason: str | None
    message: str | None
    release: str
    probabilities: dict[str, float] | None


@dataclass(frozen=True)
class Found:
    """A row, and of which file: its size in bytes and time in nanoseconds; None where another try may find something
    else. Of an address there is neither, and both are 0."""

    row: Row
    seen: tuple[int, int] | None = None


class FoundBefore(Found):
    """By a run that was ended early."""


def answered(path: str, answer: Answer) -> Row:
    highest, reason, message = answer.probabilities[answer.label], None, None
    if not answer.familiar:
        reason, message = "unfamiliar", "it is like none of the pictures that the model has learned from"
    elif not answer.sure:
        reason = "unsure"
        message = f"the closest is {answer.label} with {highest:.3g}; an answer needs {answer.threshold:.3g}"
    told = answer.label if answer.sure else None
    return Row(path, told, highest, reason, message, answer.release, answer.probabilities)


def refused(path: str, reason: str, message: str, release: str) -> Row:
    return Row(path, None, None, reason, message, release, None)


def csv_header(classes: Sequence[str]) -> str:
    return tables.line([*COLUMNS, *(f"probability:{label}" for label in classes)])


def as_csv(row: Row, classes: Sequence[str]) -> str:
    each = row.probabilities or {}
    return tables.line([*(getattr(row, name) for name in COLUMNS), *(each.get(label) for label in classes)])


def as_jsonl(row: Row) -> str:
    return msgspec.json.encode(row).decode() + "\n"


def as_words(row: Row, width: int) -> str:
    """For a person: the answer in `width` characters, and the path."""
    what = row.answer or (REFUSED if row.probability is None else CANNOT_TELL)
    sure = "" if row.probability is None else percent(row.probability)
    why = f"  ({row.message})" if row.message else ""
    return harmless(f"{what:{width}} {sure:>6}  {row.path}{why}") + "\n"
