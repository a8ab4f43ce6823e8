"""The Starlette application: routes, layers and what lives as long as a worker."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from greenr_luigi.about import STATIC
from greenr_luigi.http_security import SecurityHeaders
from greenr_luigi.web import api, attribution, classifier, feedback, fetching, openapi, pages
from greenr_luigi.web.hosts import KnownHost
from greenr_luigi.web.intake import Intake
from greenr_luigi.web.layers import PathPrefix, RequestLog, TrustedProxies
from greenr_luigi.web.problem import Code, Problem
from greenr_luigi.web.settings import Settings, from_environment
from greenr_luigi.web.state import State

#: These are asked by programs, which get a refusal as JSON; whoever asks for anything else gets a page.
FOR_PROGRAMS = ("/api/", "/feedback", "/healthz", "/readyz", "/metrics")


class Endpoint:
    """What is asked most. The application's own layer turns a refusal into an answer; Starlette would lay a second one
    around a function."""

    def __init__(self, answer: Callable[[Request[Any]], Awaitable[Response]]) -> None:
        self.answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive, send))
        await response(scope, receive, send)


class Assets(StaticFiles):
    """Addresses of assets carry a digest of their content, so browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def routes(settings: Settings) -> list[BaseRoute]:
    # What other pages of the web must not reach through a visitor's browser.
    ours = [Middleware(KnownHost, settings=settings)]
    made: list[Route | Mount] = [
        # The first that fits is taken, so what is asked most comes first.
        Route("/api/predict", Endpoint(api.predict), methods=["POST"], name="predict"),
        Route("/", pages.index, name="index"),
        Route("/form", pages.index),
        Route("/upload", pages.upload, methods=["GET", "POST"]),
        Route("/classify-url", pages.classify_url),
        Route("/model", pages.model),
        Route("/model/pictures/{name}", pages.picture),
        Route("/attribution", attribution.shown),
        Route("/attribution.csv", attribution.table),
        Route("/feedback", feedback.give, methods=["POST"], middleware=ours),
        Route("/api", openapi.page),
        Route("/api/openapi.json", openapi.describe),
        Route("/api/model", api.about),
        Route("/api/predict-batch", api.predict_batch, methods=["POST"]),
        Route("/api/predict-url", api.predict_url, methods=["POST"]),
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz, middleware=ours),
        Route("/metrics", api.prometheus, middleware=ours),
        Mount("/static", Assets(directory=STATIC)),
    ]
    for route in made:
        # Its `$` takes a line break at the end: /metrics%0a is not what a proxy closes.
        route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return [*made]


def create(settings: Settings | None = None) -> Starlette:
    """The application; settings from the environment by default."""
    chosen = settings or from_environment(os.environ)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with classifier.running(chosen) as running:
            yield {
                "settings": chosen,
                "classifier": running,
                "fetcher": fetching.Fetcher(chosen),
                "intake": Intake(chosen),
                "feedback": feedback.Feedback(chosen),
            }

    made = Starlette(
        routes=routes(chosen),
        lifespan=lifespan,
        middleware=[
            *([Middleware(TrustedProxies, settings=chosen)] if chosen.trusted_proxies else []),
            *(
                [Middleware(PathPrefix, settings=chosen)]
                if chosen.root_path or chosen.forwarded_prefix
                else []
            ),
            Middleware(SecurityHeaders),
            Middleware(RequestLog, settings=chosen, internal_error=internal_error),
        ],
        exception_handlers={Problem: refuse, HTTPException: refuse},
    )
    # It would redirect to whatever host the request names, or to //another.example/.
    made.router.redirect_slashes = False
    return made


async def refuse(request: Request[Any], error: Exception) -> Response:
    """A refusal as JSON for programs, as a page for visitors."""
    problem = explain(request, error) if isinstance(error, HTTPException) else error
    assert isinstance(problem, Problem)
    if is_for_programs(request):
        return problem.response()
    return pages.problem_page(request, problem)


def explain(request: Request[State], error: HTTPException) -> Problem:
    """What Starlette refuses, with what to do instead."""
    base, path, headers = pages.path_prefix(request), request.url.path[:100], dict(error.headers or {})
    code: Code
    if error.status_code == 404:
        code = "not-found"
        message = (
            f"there is nothing at {path}: the pages are {base}/, {base}/model and {base}/api; "
            f"what programs may ask is described in {base}/api/openapi.json"
        )
    elif error.status_code == 405:
        code = "method-not-allowed"
        # Starlette keeps them in a set, whose order changes from start to start.
        headers["Allow"] = ", ".join(sorted(headers.get("Allow", "GET").split(", ")))
        message = f"{path} does not take {request.method}: use {headers['Allow'].replace(', ', ' or ')}"
    else:
        code = "refused"
        message = f"{request.method} {path} is refused ({error.detail}): {base}/api says what can be asked"
    problem = Problem(error.status_code, code, message)
    problem.headers = headers
    return problem


def internal_error(request: Request[State]) -> Response:
    """Tells nothing of what happened. By a page of its own, since it may be the start page that failed."""
    message = (
        "something went wrong here, not with your picture: try again; if it stays so, "
        f"tell who runs this page that it was request {request.scope['request_id']}"
    )
    problem = Problem(500, "internal", message)
    if is_for_programs(request):
        return problem.response()
    return pages.page(request, "failed.html", problem.status, problem=problem)


def is_for_programs(request: Request[State]) -> bool:
    return str(request.scope["path"]).removeprefix(pages.path_prefix(request)).startswith(FOR_PROGRAMS)
