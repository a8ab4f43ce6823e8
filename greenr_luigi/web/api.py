"""The JSON side: one picture, several, or an address."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.web import heat, intake, metrics
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import State


async def predict(request: Request[State]) -> Response:
    """One picture in the form field `file`."""
    show = wants_pictures(request)
    async with request.state["intake"].form(request) as form:
        pictures = await intake.uploads(form)
        if len(pictures) != 1:
            raise Problem(
                400, "no-picture", f"{len(pictures)} pictures came: send one in the form field 'file'"
            )
        (answer,) = await classify(request, [pictures[0][1]])
    if isinstance(answer, Problem):
        raise answer
    return JSONResponse(as_json(answer, show))


async def predict_batch(request: Request[State]) -> Response:
    """Several pictures in form fields `file`; each has its own answer or error, all from one release."""
    show = wants_pictures(request)
    async with request.state["intake"].form(request, files=request.state["settings"].batch) as form:
        pictures = await intake.uploads(form)
        if not pictures:
            raise Problem(400, "no-picture", "no picture came: send some in form fields 'file'")
        answers = await classify(request, [data for _, data in pictures])
    body = [
        {"name": name} | (answer.as_json() if isinstance(answer, Problem) else as_json(answer, show))
        for (name, _), answer in zip(pictures, answers, strict=True)
    ]
    return JSONResponse({"answers": body})


async def predict_url(request: Request[State]) -> Response:
    """The picture behind the address in {"url": …}."""
    show = wants_pictures(request)
    body = await request.state["intake"].body(request)
    try:
        address = json.loads(body)["url"]
        if not isinstance(address, str) or not address:
            raise ValueError("not a text")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Problem(400, "no-address", 'no address came: send {"url": "https://…"} as JSON') from None
    data = await request.state["fetcher"].fetch(address)
    (answer,) = await classify(request, [data])
    if isinstance(answer, Problem):
        raise answer
    found = as_json(answer, show)
    if show:
        found["picture"] = await request.state["classifier"].submit(heat.shown, data)
    return JSONResponse(found)


async def classify(request: Request[State], pictures: list[bytes]) -> list[Answer | Problem]:
    answers = await request.state["classifier"].classify(pictures)
    for answer in answers:
        outcome = answer.code if isinstance(answer, Problem) else "sure" if answer.sure else "unsure"
        metrics.PICTURES.labels(outcome).inc()
    return answers


def as_json(answer: Answer, show: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "label": answer.label,
        "sure": answer.sure,
        "familiar": answer.familiar,
        "threshold": answer.threshold,
        "probabilities": dict(answer.probabilities),
        "release": answer.release,
    }
    if show:
        found["heat"] = heat.overlay(answer.heat)
    return found


def wants_pictures(request: Request[State]) -> bool:
    """`?show=1`: with what a page shows beside the answer. Raises Problem for anything but 0 and 1."""
    show = request.query_params.get("show", "0")
    if show not in ("0", "1"):
        raise Problem(400, "show", f"show={show[:20]!r}: expected 1, for the heat map, or 0")
    return show == "1"


async def about(request: Request[State]) -> Response:
    """The release that serves, as its model.json describes it."""
    model = request.state["classifier"].model
    if model is None:
        raise Problem(503, "no-model", "there is no model yet: try again", retry_after=5)
    return JSONResponse({"release": model.digest, "model": model.about})
