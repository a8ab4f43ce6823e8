"""The JSON side."""

from __future__ import annotations

import json
from typing import Any, TypedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.web import fetching, intake, metrics
from greenr_luigi.web.classifier import Classifier
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings


class State(TypedDict):
    """What the lifespan makes, one of each a worker."""

    settings: Settings
    classifier: Classifier
    fetcher: fetching.Fetcher
    intake: intake.Intake


async def predict(request: Request[State]) -> Response:
    """One picture in the form field `file`."""
    async with request.state["intake"].form(request) as form:
        pictures = await intake.uploads(form)
        if not pictures:
            raise no_picture()
        (answer,) = await classify(request, [pictures[0][1]])
    if isinstance(answer, Problem):
        raise answer
    return JSONResponse(as_json(answer))


async def classify(request: Request[State], pictures: list[bytes]) -> list[Answer | Problem]:
    answers = await request.state["classifier"].classify(pictures)
    for answer in answers:
        outcome = answer.code if isinstance(answer, Problem) else "sure" if answer.sure else "unsure"
        metrics.PICTURES.labels(outcome).inc()
    return answers


def as_json(answer: Answer) -> dict[str, Any]:
    return {
        "label": answer.label,
        "sure": answer.sure,
        "threshold": answer.threshold,
        "probabilities": dict(answer.probabilities),
        "release": answer.release,
    }


def no_picture() -> Problem:
    return Problem(400, "no-picture", 'no picture came with the form: choose one for the field "file"')


async def healthz(request: Request[State]) -> Response:
    """The process answers."""
    return JSONResponse({"alive": True})


async def readyz(request: Request[State]) -> Response:
    """Whether a model serves, which one in each worker, and why the current release does not if so."""
    classifier = request.state["classifier"]
    ready = classifier.model is not None
    state = classifier.state()
    body = {
        "ready": ready,
        "release": state["digest"],
        "problem": state["problem"],
        "workers": workers(request),
    }
    return JSONResponse(body, 200 if ready else 503)


def workers(request: Request[State]) -> list[dict[str, Any]]:
    run_dir = request.state["settings"].run_dir
    if run_dir is None:
        return [request.state["classifier"].state()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run_dir.glob("workers/*.json"))]


async def prometheus(request: Request[State]) -> Response:
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
