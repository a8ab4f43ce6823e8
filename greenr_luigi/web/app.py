"""The Starlette application: routes, layers and what lives as long as a worker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from aiohttp.abc import AbstractResolver
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from greenr_luigi import HERE
from greenr_luigi.web import api, classifier, feedback, fetching, health, openapi, pages
from greenr_luigi.web.intake import Intake
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.security import Envelope, Prefix
from greenr_luigi.web.settings import Settings, from_environment
from greenr_luigi.web.state import State

CODES = {404: "not-found", 405: "method-not-allowed"}


class Assets(StaticFiles):
    """Addresses of assets carry a digest of their content, so browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def routes() -> list[BaseRoute]:
    return [
        Route("/", pages.index, name="index"),
        Route("/form", pages.index),
        Route("/upload", pages.upload, methods=["POST"]),
        Route("/classify-url", pages.classify_url),
        Route("/model", pages.model),
        Route("/model/pictures/{name}", pages.picture),
        Route("/feedback", feedback.give, methods=["POST"]),
        Route("/api", openapi.page),
        Route("/api/openapi.json", openapi.describe),
        Route("/api/model", api.about),
        Route("/api/predict", api.predict, methods=["POST"]),
        Route("/api/predict-batch", api.predict_batch, methods=["POST"]),
        Route("/api/predict-url", api.predict_url, methods=["POST"]),
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route("/metrics", health.prometheus),
        Mount("/static", Assets(directory=HERE / "static")),
    ]


def create(settings: Settings | None = None, resolver: AbstractResolver | None = None) -> Starlette:
    """The application; settings from the environment by default. `resolver` is for tests."""
    chosen = settings or from_environment(os.environ)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[State]:
        async with classifier.running(chosen) as ours, fetching.running(chosen, resolver) as fetcher:
            yield {
                "settings": chosen,
                "classifier": ours,
                "fetcher": fetcher,
                "intake": Intake(chosen),
                "feedback": feedback.Feedback(chosen),
            }

    handlers: dict[Any, Any] = {Problem: refuse, HTTPException: refuse, 500: fail}
    return Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[Middleware(Prefix, settings=chosen), Middleware(Envelope, settings=chosen)],
        exception_handlers=handlers,
    )


async def refuse(request: Request[State], error: Any) -> Response:
    """A refusal as JSON under /api, as a page elsewhere."""
    if isinstance(error, Problem):
        problem = error
    else:
        code = CODES.get(error.status_code, "refused")
        problem = Problem(error.status_code, code, f"{error.detail}: {request.method} {request.url.path}")
        problem.headers = dict(error.headers or {})
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    if path.startswith(("/api/", "/feedback", "/healthz", "/readyz", "/metrics")):
        return JSONResponse(problem.as_json(), problem.status, problem.headers)
    return pages.sorry(request, problem)


async def fail(request: Request[State], error: Exception) -> Response:
    """What nobody foresaw: in the log with its trace, without a word of it to the stranger."""
    problem = Problem(500, "internal", "something went wrong here, not with your picture: try again")
    return JSONResponse(problem.as_json(), problem.status)
