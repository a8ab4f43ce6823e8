"""The pages: every answer can be had with a plain form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import jinja2
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.templating import Jinja2Templates

from greenr_luigi.paths import STATIC, TEMPLATES
from greenr_luigi.web import heat, intake, model_card
from greenr_luigi.web.api import classify
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import State


def percent(value: float, digits: int = 0) -> str:
    """0.973 as "97 %"; never "100 %" nor "0 %" for what is not quite."""
    shown = round(100 * value, digits)
    if shown >= 100 and value < 1:
        return "> 99 %" if digits == 0 else "> 99.9 %"
    if shown <= 0 and value > 0:
        return "< 1 %" if digits == 0 else "< 0.1 %"
    return f"{shown:.{digits}f} %"


def templates() -> Jinja2Templates:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["percent"] = percent
    return Jinja2Templates(env=env)


PAGES = templates()


@cache
def version(name: str) -> str:
    """Changes with an asset's content, so that browsers may keep it for a year."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Shown:
    """One picture with its answer, or why there is none."""

    name: str
    answer: Answer | None = None
    problem: Problem | None = None
    picture: str = ""
    heat: str = ""


def page(request: Request[State], name: str, status: int = 200, **context: Any) -> Response:
    base = request.scope.get("root_path", "")
    context |= {
        "base": base,
        "asset": lambda path: f"{base}/static/{path}?v={version(path)}",
        "model": request.state["classifier"].model,
        "settings": request.state["settings"],
    }
    return PAGES.TemplateResponse(cast(Request, request), name, context, status_code=status)


async def index(request: Request[State]) -> Response:
    return page(request, "index.html", shown=[], problem=None, address="")


async def upload(request: Request[State]) -> Response:
    """The form's pictures, answered without JavaScript."""
    most = request.state["settings"].batch
    async with request.state["intake"].form(request, files=most) as form:
        pictures = await intake.uploads(form)
        if not pictures:
            raise Problem(400, "no-picture", "No picture came with the form. Choose one first.")
        return await answered(request, pictures)


async def classify_url(request: Request[State]) -> Response:
    """The picture behind an address."""
    address = request.query_params.get("url", "")
    if not address:
        raise Problem(400, "no-address", "No address came with the form. Give the address of a picture.")
    return await answered(request, [(address, await request.state["fetcher"].fetch(address))], address)


async def answered(request: Request[State], pictures: list[tuple[str, bytes]], address: str = "") -> Response:
    answers = await classify(request, [data for _, data in pictures])

    async def draw(name: str, data: bytes, answer: Answer | Problem) -> Shown:
        if isinstance(answer, Problem):
            return Shown(name, problem=answer)
        small = await request.state["classifier"].submit(heat.shown, data)
        return Shown(name, answer, picture=small, heat=heat.overlay(answer.heat))

    shown = [await draw(name, data, answer) for (name, data), answer in zip(pictures, answers, strict=True)]
    failed = [one.problem for one in shown if one.problem]
    status = failed[0].status if len(failed) == len(shown) else 200
    return page(request, "index.html", status, shown=shown, problem=None, address=address)


async def model(request: Request[State]) -> Response:
    """What the model was trained on and how it did; `?label=…&predicted=…` shows a cell's pictures."""
    ours = release(request)
    label, predicted = request.query_params.get("label"), request.query_params.get("predicted")
    chosen = None
    if label is not None and predicted is not None:
        chosen = {"label": label, "predicted": predicted, "rows": ours.cell(label, predicted)}
    return page(request, "model.html", card=ours, chosen=chosen)


async def picture(request: Request[State]) -> Response:
    """A small picture that the release carries, by its content's name."""
    ours = release(request)
    name = request.path_params["name"]
    if name not in ours.pictures:
        raise Problem(404, "not-found", f"the release has no picture {name!r}: start from the model page")
    return FileResponse(
        folder(request) / "pictures" / name, headers={"Cache-Control": "public, max-age=86400"}
    )


def release(request: Request[State]) -> model_card.Card:
    return model_card.read(folder(request), folder(request).name)


def folder(request: Request[State]) -> Path:
    serving = request.state["classifier"].model
    if serving is None:
        raise Problem(503, "no-model", "There is no model yet. Try again in a moment.", retry_after=5)
    return request.state["settings"].store / serving.digest


def sorry(request: Request[State], problem: Problem) -> Response:
    """A refusal as a page."""
    address = request.query_params.get("url", "")
    response = page(request, "index.html", problem.status, shown=[], problem=problem, address=address)
    response.headers.update(problem.headers)
    return response
