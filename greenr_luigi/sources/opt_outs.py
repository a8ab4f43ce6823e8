"""What a host says with a picture that keeps it from models: X-Robots-Tag, and the Text and Data Mining Reservation
Protocol."""

from __future__ import annotations

import datetime
import re
from collections.abc import Container, Iterable
from email.utils import parsedate_to_datetime

from greenr_luigi import about

#: What a refusal begins with.
SAYS = "its host keeps it from models"
#: Words of X-Robots-Tag that keep a picture from models, or from collections of pictures at all.
WORDS = {"noai", "noimageai", "noindex", "noimageindex", "none"}
#: Words that are followed by a colon and a value. Any other is whom the words behind it are meant for.
VALUED = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
#: A name with its colon, at the start of a word: no hour of a date is one.
NAMED = re.compile(r"(?:^|(?<=[\s,;]))([a-z*][^\s,;:]*)\s*:")
EVERYBODY = {"*", "robots", about.NAME.lower()}


def said_in(
    tags: Iterable[str], reservations: Iterable[str], words: Container[str] = frozenset(WORDS)
) -> str | None:
    """The opt-out of an answer with these headers, X-Robots-Tag and tdm-reservation; None if there is none."""
    for line in tags:
        if word := _of_robots(line, words):
            return f"X-Robots-Tag: {word}"
    if any(re.match(r"\s*1\s*($|[,;])", line) for line in reservations):
        return "tdm-reservation: 1"
    return None


def _of_robots(line: str, words: Container[str]) -> str | None:
    """The word of a header that keeps us out, such as `noai`, or `otherbot: none, greenr_luigi: noindex`. Words are
    parted by commas, semicolons or blanks."""
    meant = True
    start, *named = NAMED.split(line.lower())
    for name, said in zip(["", *named[::2]], [start, *named[1::2]], strict=True):
        if name and name not in VALUED:
            meant = name.partition("/")[0] in EVERYBODY
        if not meant:
            continue
        # A date has a comma of its own, behind the day of the week.
        first, *rest = re.split(r"[,;](?! *\d)", said, maxsplit=1)
        if name == "unavailable_after" and _is_past(first.strip()):
            return name
        alone: list[str] = [*first.split()[name in VALUED :], *re.split(r"[\s,;]+", "".join(rest))]
        if word := next((word for word in alone if word in words), None):
            return word
    return None


def _is_past(date: str) -> bool:
    """Of a date in the form of a letter (RFC 822, RFC 850) or of ISO 8601; no other is past."""
    for read in (parsedate_to_datetime, datetime.datetime.fromisoformat):
        try:
            when = read(date.upper())
        except (ValueError, OverflowError):
            continue
        return when.replace(tzinfo=when.tzinfo or datetime.UTC) < datetime.datetime.now(datetime.UTC)
    return False
