"""The grid: all pictures of a filter, many of which are decided about at once. static/grid.js draws it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from greenr_luigi.dataset import decisions
from greenr_luigi.dataset.decisions import Curation
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.http_security import same_origin
from greenr_luigi.pictures.thumbnail import encoded, thumbnail
from greenr_luigi.pictures.thumbnails import Thumbnails
from greenr_luigi.review import filters
from greenr_luigi.review.batches import KEEP, REJECT, RESTORE, Batches
from greenr_luigi.review.catalogue import Catalogue, Listing, Picture
from greenr_luigi.review.filters import Filter
from greenr_luigi.review.states import state_of
from greenr_luigi.templating import environment
from greenr_luigi.text import percent

PAGES = Jinja2Templates(env=environment())
#: Bytes of a request: of 400,000 pictures.
MOST = 16 * 2**20
#: Pixels of the longer side of a picture that is looked at alone.
LARGE = 1600
#: What lies under an address with a picture's id never changes.
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}

Content = TypeVar("Content")


class Decide(msgspec.Struct):
    """A verdict on pictures: by their id, what the person saw as said of each."""

    verdict: str
    pictures: dict[str, str]


class TakeBack(msgspec.Struct):
    """The batch of decisions to take back, by its number."""

    number: int


class Grid:
    """All pictures as a grid: what its addresses answer. `command`: what makes a run take the decisions in."""

    def __init__(self, batches: Batches, catalogue: Catalogue, command: str) -> None:
        self.root, self.batches, self.thumbnails = batches.root, batches, Thumbnails(batches.root)
        self.catalogue, self.command = catalogue, command

    def page(self, request: Request[Any]) -> Response:
        with self._explained():
            listing, curation = self._now()
            wanted = Filter.of(request.query_params)
            shown = filters.choose(listing, curation, wanted)
        context = {
            "titles": filters.TITLES,
            "chosen": wanted.chosen,
            "facets": shown.options,
            "sorts": wanted.sorts,
            "sort": wanted.sort,
            "classes": listing.classes,
            "digits": self.batches.digits.of(listing.classes),
            "all": len(listing.pictures),
            "shown": len(shown.pictures),
            "command": self.command,
        }
        return PAGES.TemplateResponse(request, "grid.html", context)

    def listed(self, request: Request[Any]) -> Response:
        """The pictures of a filter, in order."""
        with self._explained():
            listing, curation = self._now()
            wanted = Filter.of(request.query_params)
            shown = filters.choose(listing, curation, wanted)
            numbers = {label: number for number, label in enumerate(listing.classes)}
            pictures = [(picture.id, numbers[picture.labels[0]]) for picture in shown.pictures]
            said = self._said(listing, curation, shown)
        return answer({"classes": listing.classes, "pictures": pictures, "sorts": wanted.sorts, **said})

    def said(self, request: Request[Any]) -> Response:
        """What was said of pictures, and how many each choice shows."""
        with self._explained():
            return answer(self._now_said(request))

    def _now_said(self, request: Request[Any]) -> dict[str, object]:
        listing, curation = self._now()
        return self._said(
            listing, curation, filters.choose(listing, curation, Filter.of(request.query_params))
        )

    def _said(self, listing: Listing, curation: Curation, shown: filters.Shown) -> dict[str, object]:
        last = self.batches.last
        states = ((id, state_of(picture.row.sha256, curation)) for id, picture in listing.pictures.items())
        return {
            "edition": listing.edition,
            "states": {id: state for id, state in states if state},
            "facets": shown.options,
            "digits": self.batches.digits.of(listing.classes),
            "last": last and {"number": last.number, "words": last.words},
        }

    async def decide(self, request: Request[Any]) -> Response:
        refuse_strangers(request)
        return await run_in_threadpool(self._decide, request, await body(request, Decide))

    def _decide(self, request: Request[Any], asked: Decide) -> Response:
        with self._explained():
            listing = self.catalogue.listing()
            if asked.verdict not in (REJECT, KEEP, RESTORE, *(f"={label}" for label in listing.classes)):
                raise HTTPException(400, f"{asked.verdict!r} is no verdict: use the page's buttons")
            if gone := asked.pictures.keys() - listing.pictures.keys():
                words = f"{len(gone):,} of the {len(asked.pictures):,} are in no output any more, as a run has finished"
                raise HTTPException(409, f"{words}: load the page again, nothing was changed")
            shown = {listing.pictures[id]: state for id, state in asked.pictures.items()}
            words = self.batches.decide(asked.verdict, shown)
            return answer({"words": words, **self._now_said(request)})

    async def undo(self, request: Request[Any]) -> Response:
        refuse_strangers(request)
        return await run_in_threadpool(self._undo, request, await body(request, TakeBack))

    def _undo(self, request: Request[Any], asked: TakeBack) -> Response:
        with self._explained():
            words = self.batches.take_back(asked.number)
            return answer({"words": words, **self._now_said(request)})

    def small(self, request: Request[Any]) -> Response:
        picture = self._picture(request)
        with shown_or_not():
            return Response(
                self.thumbnails.get(picture.row.sha256, picture.read),
                media_type="image/jpeg",
                headers=FOREVER,
            )

    def large(self, request: Request[Any]) -> Response:
        picture = self._picture(request)
        with shown_or_not():
            return Response(
                encoded(thumbnail(picture.read(), LARGE)), media_type="image/jpeg", headers=FOREVER
            )

    def about(self, request: Request[Any]) -> Response:
        """What is known of a picture, for a person: lines of a name and a value."""
        with self._explained():
            return answer(facts(self._picture(request)))

    def _now(self) -> tuple[Listing, Curation]:
        return self.catalogue.listing(), decisions.read_curation(self.root / decisions.FILE)

    def _picture(self, request: Request[Any]) -> Picture:
        with self._explained():
            found = self.catalogue.listing().pictures.get(request.path_params["id"])
        if found is None:
            raise HTTPException(404, "there is no such picture any more: load the page again")
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with os_refusals_explained(self.root):
                yield
        except GreenrError as error:
            raise HTTPException(409, str(error)) from None


def facts(picture: Picture) -> list[tuple[str, str]]:
    """What is known of a picture, for a person: names and values."""
    row, opinion = picture.row, picture.opinion
    found = [
        ("Found as", " and ".join(picture.labels)),
        ("Side", {"valid": "validation", "": "in no data set yet"}.get(picture.side, picture.side)),
        ("Left out", picture.detail),
        ("Source", row.engine),
        ("Came", picture.came.replace("T", " ")[:16]),
        ("Size", f"{row.width} x {row.height} pixels, {row.bytes:,} bytes"),
        ("File", row.file_url if row.file_url and "://" not in row.file_url else ""),
        ("Licence", row.license or ""),
        ("Sha256", row.sha256[:16]),
    ]
    if opinion.suggested is not None and opinion.probability is not None:
        given = f"gives {picture.labels[0]} {percent(opinion.probability)}"
        words = f"a model that did not learn from it says {opinion.suggested}, and {given}"
        found.insert(0, ("Doubtful", words))
    if opinion.predicted is not None:
        found.insert(0, ("Judged as", opinion.predicted))
    if opinion.familiarity is not None:
        found.append(("Familiarity", f"{opinion.familiarity:.2f}"))
    return [(name, value) for name, value in found if value]


def routes(batches: Batches, catalogue: Catalogue, command: str) -> list[Route]:
    grid = Grid(batches, catalogue, command)
    return [
        Route("/grid", grid.page),
        Route("/grid/list", grid.listed),
        Route("/grid/said", grid.said),
        Route("/grid/decide", grid.decide, methods=["POST"]),
        Route("/grid/undo", grid.undo, methods=["POST"]),
        Route("/grid/thumbnail/{id}", grid.small),
        Route("/grid/picture/{id}", grid.large),
        Route("/grid/about/{id}", grid.about),
    ]


def refuse_strangers(request: Request[Any]) -> None:
    if not same_origin(request.headers):
        raise HTTPException(403, "decisions are taken from this page only")


async def body(request: Request[Any], kind: Callable[..., Content]) -> Content:
    """What a request says, as JSON. Raises HTTPException for what is none, or too long."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST:
            raise HTTPException(413, f"more than {MOST:,} bytes: choose fewer pictures")
    try:
        return msgspec.json.decode(data, type=kind)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"{error}: use the page's buttons") from None


@contextlib.contextmanager
def shown_or_not() -> Iterator[None]:
    """A picture that is gone, or cannot be drawn, is none."""
    try:
        yield
    except (GreenrError, OSError) as error:
        raise HTTPException(404, str(error)) from None


def answer(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
