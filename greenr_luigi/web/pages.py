"""The pages: every answer can be had with a plain form."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import jinja2
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from greenr_luigi import HERE
from greenr_luigi.pictures import open_picture
from greenr_luigi.web import intake
from greenr_luigi.web.api import State, classify, no_picture
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem

TEMPLATES = Jinja2Templates(
    env=jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
)
#: The side in pixels of the picture that an answer shows.
SHOWN = 640


@cache
def version(name: str) -> str:
    """Changes with an asset's content, so that browsers may keep it for a year."""
    return hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Shown:
    """One picture with its answer, or why there is none."""

    name: str
    answer: Answer | None = None
    problem: Problem | None = None
    picture: str = ""


def page(request: Request[State], name: str, status: int = 200, **context: Any) -> Response:
    base = request.scope.get("root_path", "")
    model = request.state["classifier"].model
    context |= {
        "base": base,
        "asset": lambda path: f"{base}/static/{path}?v={version(path)}",
        "model": model,
        "settings": request.state["settings"],
    }
    return TEMPLATES.TemplateResponse(cast(Request, request), name, context, status_code=status)


async def index(request: Request[State]) -> Response:
    return page(request, "index.html", shown=[], problem=None, address="")


async def upload(request: Request[State]) -> Response:
    """The form's pictures, answered without JavaScript."""
    most = request.state["settings"].batch
    async with request.state["intake"].form(request, files=most) as form:
        pictures = await intake.uploads(form)
        if not pictures:
            raise no_picture()
        return await answered(request, pictures)


async def classify_url(request: Request[State]) -> Response:
    """The picture behind an address."""
    address = request.query_params.get("url", "")
    if not address:
        raise Problem(400, "no-address", "no address came with the form: give the address of a picture")
    return await answered(request, [(address, await request.state["fetcher"].fetch(address))], address)


async def answered(request: Request[State], pictures: list[tuple[str, bytes]], address: str = "") -> Response:
    answers = await classify(request, [data for _, data in pictures])
    shown = [
        Shown(name, problem=answer)
        if isinstance(answer, Problem)
        else Shown(name, answer, picture=inline(data))
        for (name, data), answer in zip(pictures, answers, strict=True)
    ]
    failed = [one.problem for one in shown if one.problem]
    status = failed[0].status if len(failed) == len(shown) else 200
    return page(request, "index.html", status, shown=shown, problem=None, address=address)


def inline(data: bytes) -> str:
    """The picture as the model sees it, small, as a data address: nothing is kept to be asked for later."""
    image = open_picture(data, at_least=SHOWN)
    image.thumbnail((SHOWN, SHOWN))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def sorry(request: Request[State], problem: Problem) -> Response:
    """A refusal as a page."""
    address = request.query_params.get("url", "")
    response = page(request, "index.html", problem.status, shown=[], problem=problem, address=address)
    response.headers.update(problem.headers)
    return response
