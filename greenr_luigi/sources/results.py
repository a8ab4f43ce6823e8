"""What engines answer, in which anything may stand: of another kind, of any length, or not there."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from greenr_luigi.staleness.shown import harmless

#: A result as an engine sent it, unchecked: `file_url`, and where known `page_url`, `license` and `author`.
Result = Mapping[str, object]
#: No engine shows more results, on a page and in all: of more, which may cost half a minute each, none is looked at.
MOST = 1000
#: What reading a page in another format than expected raises, in our code and in icrawler's.
UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Answer:
    """A page of results. icrawler's parsers ask for `content`."""

    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def each(items: Iterable[Any], read: Callable[[Any], Result | None]) -> list[Result]:
    """The results that `read` finds in the first MOST items of a page, None for no picture. An item that it cannot read
    is a result without an address. Raises TypeError for what is no list, ValueError where there are some, and none is a
    picture: they have changed."""

    def one(item: Any) -> Result | None:
        try:
            return read(item)
        except UNEXPECTED:
            return {"file_url": item}

    if isinstance(items, str | Mapping):
        raise TypeError("the results are no list")
    read_items = [*map(one, itertools.islice(items, MOST))]
    results = [result for result in read_items if result is not None]
    # Some engines end a list with an empty one.
    if not results and len(read_items) > 2:
        raise ValueError(f"none of {len(read_items)} results is a picture")
    return results


def require_html(answer: Answer) -> None:
    """Raises ValueError for a page on which nothing was found, and which is text of another kind: an error, and no end
    of the results. An empty one is no such."""
    begins = answer.content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begins not in (b"", b"<"):
        raise ValueError("it is no HTML")


def at(value: Any, *keys: str) -> object:
    """What stands in an object under these keys, one within the other; None if nothing does."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def excerpt(what: object) -> str:
    """What an engine says for itself, in a length for people, and nothing that a terminal obeys."""
    return harmless(str(what)[:200])[:200]
