"""Who made the pictures that the model learned from, page by page and as a table to keep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import IO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from greenr_luigi import files
from greenr_luigi.deployment import attribution
from greenr_luigi.web.layers import client
from greenr_luigi.web.pages import page, release_page
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import State

#: Pictures on a page, and bytes of the table that are read at a time.
ON_A_PAGE = 100
CHUNK = 2**16


async def shown(request: Request[State]) -> Response:
    """`?page=2` has the next hundred."""
    return await request.state["classifier"].submit(client(request.scope), _page, request)


def _page(request: Request[State]) -> Response:
    about = release_page(request, request.state["classifier"].serving_model())
    last, asked = math.ceil(about.credited / ON_A_PAGE), request.query_params.get("page", "1")
    number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0
    if not 1 <= number <= last:
        raise Problem(404, "not-found", f"there is no page {asked[:20]!r} of the attribution: it has {last}")
    first = (number - 1) * ON_A_PAGE
    with _table(request) as file:
        credits = [*itertools.islice(attribution.read(file, first), ON_A_PAGE)]
    others = sum(origin.pictures for origin in about.origins) - about.credited
    return page(
        request,
        "attribution.html",
        shown=about,
        credits=credits,
        first=first,
        number=number,
        last=last,
        others=others,
    )


async def table(request: Request[State]) -> Response:
    """attribution.csv, as the release has it."""
    file = await request.state["classifier"].submit(client(request.scope), _table, request)
    headers = {"Content-Disposition": f'attachment; filename="{attribution.NAME}"'}
    return StreamingResponse(_chunks(file), media_type="text/csv", headers=headers)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while data := file.read(CHUNK):
            yield data


def _table(request: Request[State]) -> IO[bytes]:
    """To be closed. Raises Problem for a release that has none."""
    model = request.state["classifier"].serving_model()
    if file := files.opened_own(request.state["settings"].store / model.digest, attribution.NAME):
        return file
    raise Problem(
        404, "not-found", "the release does not say who made its pictures: no search found any of them"
    )
