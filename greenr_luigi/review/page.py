"""The local page of `greenr review`."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from greenr_luigi.about import STATIC
from greenr_luigi.errors import GreenrError, os_refusals_explained
from greenr_luigi.http_security import SecurityHeaders
from greenr_luigi.pictures.thumbnail import encoded, thumbnail
from greenr_luigi.review import grid
from greenr_luigi.review.cases import Review, remove_decided_feedback
from greenr_luigi.review.catalogue import Catalogue
from greenr_luigi.serving.sockets import listen
from greenr_luigi.templating import environment

PAGES = Jinja2Templates(env=environment())


def create(review: Review, token: str, catalogue: Catalogue | None = None) -> Starlette:
    """The page, below /`token`/, which other users of this machine cannot guess, and the grid of the pictures of a
    catalogue beside it. They answer to no name but this machine's (against DNS rebinding), and take decisions from
    themselves only."""

    def index(request: Request[Any]) -> Response:
        try:
            elsewhere, first = review.decided_elsewhere(), str(review.next_undecided(-1))
        except GreenrError as error:
            raise HTTPException(409, str(error)) from None
        at = case_number(request.query_params.get("at") or first, len(review.cases))
        case = review.cases[at] if at < len(review.cases) else None
        digits = review.batches.digits.of(review.classes)
        labels, others = list[str](), list[str]()
        if case:
            others = [label for label in review.classes if label != case.label]
            # What the model says first, then those with a digit.
            labels = [label for label in dict.fromkeys([case.predicted, *digits]) if label in others]
            others = [label for label in others if label not in labels]
        context = {
            "case": case,
            "at": at,
            "count": len(review.cases),
            "done": len(review.decided) + len(elsewhere),
            "mine": len(review.decided),
            "elsewhere": at in elsewhere,
            "verdict": review.decided[at].verdict if at in review.decided else "",
            "labels": labels,
            "others": others,
            "digits": digits,
            "command": review.command,
        }
        return PAGES.TemplateResponse(request, "review.html", context)

    def picture(request: Request[Any]) -> Response:
        case = review.cases[case_number(request.path_params["at"], len(review.cases) - 1)]
        try:
            # Not every browser shows every format that is read.
            shown = encoded(thumbnail(case.read(), grid.LARGE))
        except GreenrError as error:
            raise HTTPException(404, str(error)) from None
        return Response(shown, media_type="image/jpeg")

    async def decide(request: Request[Any]) -> Response:
        grid.refuse_strangers(request)
        async with request.form(max_files=0, max_fields=4) as form:
            verdict = str(form.get("verdict", ""))
            at = case_number(str(form.get("at", "")), len(review.cases))
        undo = verdict == "undo"
        if not undo and (at >= len(review.cases) or verdict not in review.cases[at].verdicts(review.classes)):
            raise HTTPException(400, f"{verdict!r} is no verdict on picture {at + 1}: use the page's buttons")
        try:
            with os_refusals_explained():
                if undo:
                    review.take_back(at := next(reversed(review.decided), at))
                else:
                    review.decide(at, verdict)
        except GreenrError as error:
            raise HTTPException(409, str(error)) from None
        return RedirectResponse(f"./?at={at if undo else review.next_undecided(at)}", 303)

    routes = [
        Route("/", index),
        Route("/picture/{at}", picture),
        Route("/decide", decide, methods=["POST"]),
        *grid.routes(review.batches, catalogue or Catalogue(), review.command),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
    )


def case_number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise HTTPException(404, f"there is no picture {text!r} here")
    return int(text)


def serve(review: Review, port: int, catalogue: Catalogue | None = None) -> None:
    """Serve the page on this machine until Ctrl-C; `port` 0 takes a free one. Raises ServerError if it is taken."""
    token = secrets.token_urlsafe(16)
    with listen("127.0.0.1", port) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        print(f"{len(review.cases):,} pictures to look at: {address}", flush=True)
        print(f"all pictures as a grid: {address}grid", flush=True)
        print("Ctrl-C when you are done", flush=True)
        app = create(review, token, catalogue)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        # uvicorn ends its work in good order and passes Ctrl-C on.
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listening])
    remove_decided_feedback(review.root)
    print(
        f"{len(review.decided) + review.batches.size:,} decided; the next run takes it in: {review.command}"
    )
