"""What programs ask: answers for one picture, several, or an address; the model; and how the server fares."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi import contracts
from greenr_luigi.serving.state import WorkerState, read_worker_states
from greenr_luigi.web import intake, metrics, run_metrics
from greenr_luigi.web.hosts import is_own_address
from greenr_luigi.web.layers import visitor
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import Answered, State, answer


@dataclass(frozen=True)
class AddressRequest:
    """The body of a request to classify the picture behind an address."""

    url: Annotated[str, msgspec.Meta(min_length=1)]


class ServingModel(TypedDict):
    release: str
    model: dict[str, Any]


class Alive(TypedDict):
    alive: bool


class Ready(TypedDict):
    """Whether a model serves, which one in each worker, and why the current release does not if so."""

    ready: bool
    release: str | None
    problem: dict[str, Any] | None
    workers: list[dict[str, Any]]


async def predict(request: Request[State]) -> Response:
    """One picture in the form field `file`."""
    return single(await answer(request, intake.uploaded(request), heat=wants_pictures(request)))


async def predict_batch(request: Request[State]) -> Response:
    """Several pictures in form fields `file`; each has its own answer or error, all from one release."""
    receiving = intake.uploaded(request, most=request.state["settings"].batch)
    answers = await answer(request, receiving, heat=wants_pictures(request))
    return JSONResponse({"answers": [{"name": name, **as_json(result)} for name, result in answers]})


async def predict_url(request: Request[State]) -> Response:
    """The picture behind the address in {"url": …}."""
    show = wants_pictures(request)
    try:
        address = msgspec.json.decode(await request.state["intake"].body(request), type=AddressRequest).url
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(400, "no-address", 'no address came: send {"url": "https://…"} as JSON') from None
    return single(await answer(request, intake.fetched(request, address), heat=show, picture=show))


def single(answers: list[Answered]) -> Response:
    ((_, result),) = answers
    if isinstance(result, Problem):
        raise result
    return Response(msgspec.json.encode(result), media_type=JSONResponse.media_type)


def as_json(result: Answer | Problem) -> dict[str, Any]:
    return {**result.as_json()} if isinstance(result, Problem) else dict(msgspec.to_builtins(result))


def wants_pictures(request: Request[State]) -> bool:
    """`?show=1`: with what a page shows beside the answer. Raises Problem for anything but 0 and 1."""
    if not request.scope["query_string"]:
        return False
    show = request.query_params.get("show", "0")
    if show not in ("0", "1"):
        raise Problem(400, "show", f"show={show[:20]!r}: expected 1, for the heat map, or 0")
    return show == "1"


async def about(request: Request[State]) -> Response:
    """The release that serves, as its model.json describes it."""
    model = request.state["classifier"].serving_model()
    return JSONResponse(ServingModel(release=model.digest, model=contracts.plain(model.card)))


async def healthz(request: Request[State]) -> Response:
    """The process answers."""
    return JSONResponse(Alive(alive=True))


async def readyz(request: Request[State]) -> Response:
    """Which release each worker serves; where the store lies is told on this machine alone."""
    state = request.state["classifier"].follower.state()
    body = Ready(
        ready=state.digest is not None,
        release=state.digest,
        problem=asdict(state.problem) if state.problem else None,
        workers=[asdict(worker) for worker in worker_states(request)],
    )
    who, store = visitor(request.scope), request.state["settings"].store
    if who != "-" and not is_own_address(who):
        for problem in filter(None, (told["problem"] for told in (body, *body["workers"]))):
            problem["message"] = problem["message"].replace(f"{store}", "the store")
    return JSONResponse(body) if body["ready"] else JSONResponse(body, 503, {"Retry-After": "5"})


def worker_states(request: Request[State]) -> list[WorkerState]:
    """All workers' as they write them, or else this one's."""
    run_dir = request.state["settings"].run_dir
    return [request.state["classifier"].follower.state()] if run_dir is None else read_worker_states(run_dir)


async def prometheus(request: Request[State]) -> Response:
    """The web's counters, and what the pipeline beside it has come to."""
    classifier, settings = request.state["classifier"], request.state["settings"]

    def text() -> bytes:
        return metrics.text(
            [
                *run_metrics.of_runs(settings.store),
                *run_metrics.of_release(settings.store, classifier.model),
                run_metrics.of_workers(worker_states(request)),
                *run_metrics.of_disk(settings.store),
            ]
        )

    return Response(await asyncio.to_thread(text), media_type="text/plain; version=0.0.4; charset=utf-8")
