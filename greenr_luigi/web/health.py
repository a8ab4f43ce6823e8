"""What a machine that watches over this one asks."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.serving.state import read_worker_states
from greenr_luigi.web import metrics
from greenr_luigi.web.state import State


async def healthz(request: Request[State]) -> Response:
    """The process answers."""
    return JSONResponse({"alive": True})


async def readyz(request: Request[State]) -> Response:
    """Whether a model serves, which one in each worker, and why the current release does not if so."""
    state = request.state["classifier"].state()
    run_dir = request.state["settings"].run_dir
    ready = state.digest is not None
    workers = [state] if run_dir is None else read_worker_states(run_dir)
    body = {
        "ready": ready,
        "release": state.digest,
        "problem": state.problem and asdict(state.problem),
        "workers": [asdict(worker) for worker in workers],
    }
    return JSONResponse(body, 200 if ready else 503, None if ready else {"Retry-After": "5"})


async def prometheus(request: Request[State]) -> Response:
    return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
