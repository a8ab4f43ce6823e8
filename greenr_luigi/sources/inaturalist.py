"""iNaturalist: observations of living things whose species people agree on (research grade), freely licensed."""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from greenr_luigi.sources import pace
from greenr_luigi.sources.licenses import allows
from greenr_luigi.sources.results import Answer, Result, at, each, excerpt
from greenr_luigi.sources.source import Candidate, NothingFound, Request, Source
from greenr_luigi.text import composed

API = "https://api.inaturalist.org/v1/"
#: It asks for at most so many requests in a minute, and refuses more than 100.
A_MINUTE, MINUTE = 60, 60.0
#: When it was asked last; below the data root.
ASKED = "inaturalist.json"
#: What one may be called is looked for in so many taxa, those with the most observations.
TAXA = 100
#: Observations a page, of 200 that it would give: with all who identified it, one has up to 60 KB.
PAGE = 30
#: Of those photographs that may be used at all; others are all rights reserved.
LICENSES = {
    "cc0": "CC0 1.0", "cc-by": "CC BY 4.0", "cc-by-sa": "CC BY-SA 4.0", "cc-by-nd": "CC BY-ND 4.0",
    "cc-by-nc": "CC BY-NC 4.0", "cc-by-nc-sa": "CC BY-NC-SA 4.0", "cc-by-nc-nd": "CC BY-NC-ND 4.0",
}  # fmt: skip
#: What all of them allow.
ANY = "noncommercial"
OWNER = re.compile(r"\(c\) (.{1,200}?), (?:some|all|no) rights reserved")


def candidates(request: Request) -> Iterator[Candidate]:
    """The first photograph of each observation, since others show the same plant or animal: from the oldest
    observation on, so that the same question has the same answer."""
    from greenr_luigi.sources import download, paging

    session, wanted = download.session(request), request.license or ANY

    def address(path: str, **question: object) -> str:
        pace.keep(request.root / ASKED, A_MINUTE, MINUTE)
        return f"{API}{path}?{urllib.parse.urlencode(question)}"

    names = address("taxa", q=request.query, is_active="true", per_page=TAXA, locale="en")
    taxon = paging.reading("inaturalist", session, names, functools.partial(called, request.query))
    if taxon is None:
        raise NothingFound(f"knows living things only, and none that is called {request.query!r}")
    request.tell(f"{request.query!r} is {taxon['name']} ({taxon['rank']})")
    above, last = 0, -1

    def pages() -> Iterator[str]:
        nonlocal last
        while above > last:
            last = above
            yield address(
                "observations",
                taxon_id=taxon["id"],
                quality_grade="research",
                photos="true",
                photo_license=",".join(code for code, name in LICENSES.items() if allows(name, wanted)),
                order_by="id",
                order="asc",
                id_above=above,
                per_page=PAGE,
            )

    def read(answer: Answer) -> list[Result]:
        nonlocal above
        observations = one_by_one(answer)
        ids = (at(observation, "id") for observation in observations)
        above = max((number for number in ids if isinstance(number, int)), default=above)
        return results(answer, wanted)

    yield from paging.candidates("inaturalist", session, pages(), read)


def called(query: str, answer: Answer) -> dict[str, Any] | None:
    """The taxon that people mean by a name: `id`, `name` and `rank`. Of those that have it, as scientific name, as
    common name, by another name, in the plural ("dandelions"), or with "common" before it, in this order, the one that
    was observed most. None if there is none: a part of a name, as of a mustang grape, is no name.

    Raises any of UNEXPECTED for what is no list of taxa."""
    wanted = plain(query)

    def ways(taxon: Any) -> list[str]:
        names = [
            plain(name)
            for name in (taxon["name"], *map(taxon.get, ("preferred_common_name", "matched_term")))
        ]
        usual = [name.removeprefix("common ") for name in names]
        return [*names, *map(singular, names), *usual, *map(singular, usual)]

    found = [
        (all_ways.index(name), -taxon["observations_count"], int(taxon["id"]), taxon)
        for taxon in one_by_one(answer)
        for name in (wanted, singular(wanted))
        if name in (all_ways := ways(taxon))
    ]
    if not found:
        return None
    *_, number, taxon = min(found, key=lambda one: one[:3])
    return {"id": number, "name": excerpt(taxon["name"]), "rank": excerpt(taxon.get("rank"))}


def plain(name: object) -> str:
    """A name however it is written."""
    return " ".join(re.split(r"[\s_-]+", composed(name).casefold())).strip() if isinstance(name, str) else ""


def singular(name: str) -> str:
    """Of an English name; of any other, whatever comes out. A bus is no plural."""
    return re.sub(r"(?<=ss|sh|ch)es$|(?<=\w\w[^s])s$", "", re.sub(r"(?<=\w\w)ies$", "y", name))


def results(answer: Answer, wanted: str = ANY) -> list[Result]:
    """Raises any of UNEXPECTED for what is no page of observations."""

    def result(observation: Any) -> Result | None:
        photos = observation["photos"]
        found = (photo for photo in photos if allows(LICENSES.get(photo["license_code"]), wanted))
        if (photo := next(found, None)) is None:
            return None
        user = observation.get("user")
        owner = OWNER.match(str(photo.get("attribution")))
        return {
            # At most 1024 pixels wide and high.
            "file_url": photo["url"].replace("/square.", "/large."),
            "page_url": observation.get("uri"),
            "license": LICENSES[photo["license_code"]],
            "author": owner[1] if owner else at(user, "name") or at(user, "login"),
        }

    return each(one_by_one(answer), result)


def one_by_one(answer: Answer) -> list[Any]:
    if isinstance(found := answer.json()["results"], list):
        return found
    raise TypeError("the results are no list")


SOURCE = Source("inaturalist", "iNaturalist: living things, by name or scientific name", candidates)
