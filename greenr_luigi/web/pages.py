"""The pages: every answer can be had with a plain form."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from greenr_luigi import files, templating
from greenr_luigi.about import STATIC
from greenr_luigi.pictures.door import FORMATS
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.staleness.traces import file_sha256
from greenr_luigi.web import intake
from greenr_luigi.web.layers import client
from greenr_luigi.web.model import Model
from greenr_luigi.web.model_page import ModelPage, read_model_page, read_trend
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import Answered, State, answer

#: What a browser lets people choose. Safari converts HEIC to JPEG where JPEG is named, and neither HEIC nor `image/*`.
ACCEPT = ",".join(f"image/{name.lower()}" for name in FORMATS)
PAGES = Jinja2Templates(env=templating.environment())


@cache
def version(name: str) -> str:
    """Changes with an asset's content, so that browsers may keep it for a year."""
    return file_sha256(STATIC / name)[:12]


def path_prefix(request: Request[State]) -> str:
    """The path prefix that the visitor sees; inside a mount, `root_path` is that and the mount's own path."""
    return str(request.scope.get("app_root_path", request.scope.get("root_path", "")))


def page(request: Request[State], name: str, status: int = 200, **context: Any) -> Response:
    base = path_prefix(request)
    context |= {
        "base": base,
        "asset": lambda path: f"{base}/static/{path}?v={version(path)}",
        "accept": ACCEPT,
        "model": request.state["classifier"].model,
        "settings": request.state["settings"],
    }
    return PAGES.TemplateResponse(cast(Request, request), name, context, status_code=status)


def start_page(
    request: Request[State],
    status: int = 200,
    answers: Sequence[Answered] = (),
    problem: Problem | None = None,
    address: str = "",
) -> Response:
    """The form, below answers or a problem; `address` stands in its field."""
    model = request.state["classifier"].model
    metrics = model.card.metrics if model else None
    coverage = metrics.coverage_asked if metrics else None
    context = {"answers": answers, "problem": problem, "address": address, "coverage": coverage}
    return page(request, "index.html", status, **context)


async def index(request: Request[State]) -> Response:
    return start_page(request)


async def upload(request: Request[State]) -> Response:
    """The form's pictures, answered without JavaScript. Who types or reopens the address of the answer is led back to
    the form."""
    if request.method != "POST":
        return RedirectResponse(f"{path_prefix(request)}/", 303)
    return await answer_page(request, intake.uploaded(request, most=request.state["settings"].batch))


async def classify_url(request: Request[State]) -> Response:
    """The picture behind an address."""
    address = request.query_params.get("url", "")
    if not address:
        raise Problem(400, "no-address", "No address came with the form. Give the address of a picture.")
    return await answer_page(request, intake.fetched(request, address), address)


async def answer_page(
    request: Request[State], receiving: AbstractAsyncContextManager[intake.Upload], address: str = ""
) -> Response:
    answers = await answer(request, receiving, heat=True, picture=True)
    problems = [result for _, result in answers if isinstance(result, Problem)]
    status = problems[0].status if len(problems) == len(answers) else 200
    return start_page(request, status, answers, address=address)


async def model(request: Request[State]) -> Response:
    """How good the model is and what it learned from; `?label=…&predicted=…` shows the pictures of a cell of the
    confusion matrix."""
    # Of many classes it takes a second: in turns, as pictures, and beside what else is asked.
    return await request.state["classifier"].submit(client(request.scope), model_page, request)


def model_page(request: Request[State]) -> Response:
    shown = release_page(request, request.state["classifier"].serving_model())
    label, predicted = request.query_params.get("label"), request.query_params.get("predicted")
    cell = None
    if label is not None and predicted is not None:
        cell = {"label": label, "predicted": predicted, "pictures": shown.cell(label, predicted)}
    trend = read_trend(request.state["settings"].store)
    return page(request, "model.html", shown=shown, cell=cell, trend=trend)


async def picture(request: Request[State]) -> Response:
    """A small picture that the release carries, by its content's name."""
    model = request.state["classifier"].serving_model()
    name = request.path_params["name"]
    shown = await request.state["classifier"].submit(client(request.scope), release_page, request, model)
    if name not in shown.pictures:
        raise Problem(404, "not-found", f"the release has no picture {name!r}: start from the model page")
    if not (
        data := await run_in_threadpool(small_picture, request.state["settings"].store / model.digest, name)
    ):
        raise Problem(
            404, "not-found", f"the release has lost its picture {name!r}: start from the model page"
        )
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "public, max-age=86400"})


def small_picture(release: Path, name: str) -> bytes:
    """Empty if there is none, or a link in its place."""
    if (file := files.opened_own(release, f"pictures/{name}")) is None:
        return b""
    with file:
        return file.read(MAX_BYTES)


def release_page(request: Request[State], model: Model) -> ModelPage:
    return read_model_page(request.state["settings"].store / model.digest)


def problem_page(request: Request[State], problem: Problem) -> Response:
    """A refusal as the start page with its message."""
    response = start_page(
        request, problem.status, problem=problem, address=request.query_params.get("url", "")
    )
    response.headers.update(problem.headers)
    return response
