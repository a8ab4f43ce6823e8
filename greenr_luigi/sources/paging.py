"""Reading the result pages of a search, one by one as candidates are used up. Anything may stand in them."""

from __future__ import annotations

import functools
import reprlib
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from greenr_luigi.sources import download
from greenr_luigi.sources.results import MOST, UNEXPECTED, Answer, Result, excerpt
from greenr_luigi.sources.source import Candidate, Interrupted, Unavailable

#: What a page says; raises any of UNEXPECTED if it is no such page.
Reader = Callable[[Answer], list[Result]]

Said = TypeVar("Said")

#: Characters of what is taken over from a result.
MOST_CHARACTERS = 2048


def candidates(
    name: str, session: download.Session, pages: Iterable[str], read: Reader, agent: str | None = None
) -> Iterator[Candidate]:
    """The results of page after page, each address once, until two pages in a row bring nothing new, at most MOST.

    A result whose address is none is a candidate that cannot be loaded. `agent`: as whom to ask for pages, if not as
    for pictures. Raises Interrupted when a page cannot be had or read.
    """
    asking = replace(session, agent=agent) if agent else session
    seen: set[str] = set()
    fruitless = 0
    for page in pages:
        fruitless += 1
        for result in reading(name, asking, page, read):
            candidate = _candidate(session, result)
            if candidate.file_url not in seen:
                seen.add(candidate.file_url)
                fruitless = 0
                yield candidate
                if len(seen) == MOST:
                    return
        if fruitless == 2:
            return


def _candidate(session: download.Session, result: Result) -> Candidate:
    url, page = result["file_url"], _text(result.get("page_url"))
    if not (isinstance(url, str) and _text(url)):
        return _no_address(excerpt(url if isinstance(url, str) else reprlib.repr(url)))
    load = functools.partial(download.begin, session, url)
    is_page = page and page.startswith(("http://", "https://"))
    return Candidate(
        load,
        url,
        page if is_page else None,
        _text(result.get("license")),
        author=_text(_visible(result.get("author"))),
    )


def _visible(name: object) -> object:
    """A person's name without signs that no reader sees, with which some write themselves."""
    return "".join(filter(str.isprintable, name)).strip() if isinstance(name, str) else name


def _text(value: object) -> str | None:
    """A value that is text of a reasonable length, which can be written to a file."""
    if isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS and value.isprintable():
        return value
    return None


def _no_address(shown: str) -> Candidate:
    def load() -> bytes:
        raise Unavailable("address", f"{shown} is not an address of a picture")

    return Candidate(load, shown)


def reading(name: str, session: download.Session, url: str, read: Callable[[Answer], Said]) -> Said:
    """What a page of the engine `name` says. Raises Interrupted when it cannot be had or read."""
    host = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url))
    try:
        answer = session.get(url, Referer=host)
    except Unavailable as why:
        raise Interrupted(f"{host}: {why}") from None
    try:
        return read(answer)
    except UNEXPECTED as error:
        words = f"{type(error).__name__}: {excerpt(error)}"
        # Where it is an error after all, a person reads why.
        begins = excerpt(" ".join(answer.content[:400].decode("utf-8-sig", "replace").split())[:100])
        raise Interrupted(
            f"a result page of {name} is in another format than expected ({words}); it begins {begins!r}"
        ) from None
