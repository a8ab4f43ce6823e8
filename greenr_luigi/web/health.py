"""What a machine that watches over this one asks."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.web import metrics
from greenr_luigi.web.state import State


async def healthz(request: Request[State]) -> Response:
    """The process answers."""
    return JSONResponse({"alive": True})


async def readyz(request: Request[State]) -> Response:
    """Whether a model serves, which one in each worker, and why the current release does not if so."""
    state = request.state["classifier"].state()
    ready = state["digest"] is not None
    body = {
        "ready": ready,
        "release": state["digest"],
        "problem": state["problem"],
        "workers": workers(request),
    }
    return JSONResponse(body, 200 if ready else 503, None if ready else {"Retry-After": "5"})


def workers(request: Request[State]) -> list[dict[str, Any]]:
    run_dir = request.state["settings"].run_dir
    if run_dir is None:
        return [request.state["classifier"].state()]
    found = []
    for path in sorted(run_dir.glob("workers/*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            continue  # Its worker has just gone.
    return found


async def prometheus(request: Request[State]) -> Response:
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
