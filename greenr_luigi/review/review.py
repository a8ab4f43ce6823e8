"""A small local page on which a person goes through doubtful pictures: `greenr review`.

What visitors said of answers comes first, then the pictures whose label is probably wrong. Each decision is a line of
`curation.csv`, as `greenr reject`, `relabel` and `add` write it; what was decided once is not asked again."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from greenr_luigi.dataset import curation, decisions
from greenr_luigi.evaluation import label_issues
from greenr_luigi.paths import STATIC, TEMPLATES
from greenr_luigi.pictures import door
from greenr_luigi.web import feedback
from greenr_luigi.web.feedback import same_origin
from greenr_luigi.web.security import Envelope
from greenr_luigi.web.settings import Settings

PAGES = Jinja2Templates(TEMPLATES)
#: A picture is called what its label says, or else, or is none of the classes.
KEEP, REJECT = "keep", "reject"


@dataclass(frozen=True)
class Case:
    """A picture to decide about. `label`: what it is called, empty for none of the classes; `other`: what the model
    calls it; `probability`: that of `label` to a model that did not learn from the picture; None if a visitor sent
    it."""

    path: Path
    sha256: str
    label: str
    other: str
    probability: float | None


def from_visitors(root: Path) -> Iterator[Case]:
    """What visitors said, the last word on each picture."""
    place = feedback.folder(root / "releases")
    for sha, row in {row["sha256"]: row for row in feedback.read(place)}.items():
        yield Case(place / row["file"], sha, row["label"], row["predicted"], None)


def from_evaluation(dataset: Path, evaluation: Path) -> Iterator[Case]:
    """The suspects of an EvaluateModel folder; their pictures lie in its SplitDataset folder."""
    for one in label_issues.read(evaluation / "suspects.csv"):
        path = dataset / one.file
        if path.is_file():
            yield Case(path, door.sha256(path.read_bytes()), one.label, one.suggested, one.probability)


@dataclass
class Review:
    """A walk through cases; decisions go into the curation file at once."""

    root: Path
    cases: Sequence[Case]
    classes: Sequence[str]
    #: What to type for the graph to take the decisions in.
    again: str = "luigi --module tasks DeployApp --local-scheduler"
    #: Verdict by case, in the order in which they fell, and the copy that was made of a visitor's picture.
    decided: dict[int, tuple[str, Path | None]] = field(default_factory=dict)

    def decide(self, number: int, verdict: str) -> None:
        """`verdict`: "keep", "reject" or "=" and a class. A later word on a case overrules the earlier."""
        self.take_back(number)
        case, copy = self.cases[number], None
        label = case.label if verdict == KEEP else verdict.removeprefix("=")
        if verdict == REJECT:
            curation.reject(self.root, [case.path])
        elif case.probability is None:
            copy = curation.add(self.root, label, case.path, "a visitor's")
        elif label == case.label:
            curation.keep(self.root, [case.sha256])
        else:
            curation.relabel(self.root, label, [case.sha256])
        self.decided[number] = (verdict, copy)

    def take_back(self, number: int) -> None:
        if number in self.decided:
            _, copy = self.decided.pop(number)
            if copy is not None:
                copy.unlink(missing_ok=True)
            curation.restore(self.root, [self.cases[number].sha256])

    def after(self, number: int) -> int:
        """The next case that is not decided, the first one again after the last; how many there are if none is
        left."""
        count = len(self.cases)
        order = [*range(number + 1, count), *range(min(number + 1, count))]
        return next((n for n in order if n not in self.decided), count)


def waiting(root: Path, dataset: Path | None, evaluation: Path | None) -> list[Case]:
    """What no decision of the curation file is about yet."""
    found = [*from_visitors(root)]
    if dataset is not None and evaluation is not None:
        found += from_evaluation(dataset, evaluation)
    done = decisions.decided(root / decisions.FILE)
    return [case for case in found if case.sha256 not in done]


def sweep(root: Path) -> None:
    """Remove visitors' pictures that have been decided about: what was kept lies in `added/`, and the room is for new
    ones."""
    place = feedback.folder(root / "releases")
    done = decisions.decided(root / decisions.FILE)
    for row in feedback.read(place):
        if row["sha256"] in done:
            (place / row["file"]).unlink(missing_ok=True)


def create(review: Review, token: str) -> Starlette:
    """The page, below /`token`/: the machine's other users, who may ask it too, do not know that. Nobody but this
    machine's own browser is answered, under no name but this machine's (DNS rebinding), and decisions come from the
    page itself only."""

    def index(request: Request[Any]) -> Response:
        at = number(request.query_params.get("at") or str(review.after(-1)), len(review.cases))
        case = review.cases[at] if at < len(review.cases) else None
        verdict = review.decided.get(at, ("", None))[0]
        labels = sorted(review.classes, key=lambda label: case is None or label != case.other)
        shown = {
            "again": review.again,
            "case": case, "at": at, "count": len(review.cases), "done": len(review.decided), "verdict": verdict,
            "labels": [label for label in labels if case and label != case.label],
        }  # fmt: skip
        return PAGES.TemplateResponse(request, "review.html", shown)

    def picture(request: Request[Any]) -> Response:
        case = review.cases[number(request.path_params["at"], len(review.cases) - 1)]
        kind = door.suffix(case.path.read_bytes()).removeprefix(".").replace("jpg", "jpeg")
        return FileResponse(case.path, media_type=f"image/{kind}")

    async def decide(request: Request[Any]) -> Response:
        if not same_origin(request.headers):
            raise HTTPException(403, "decisions are taken from this page only")
        async with request.form(max_files=0, max_fields=4) as form:
            verdict, at = str(form.get("verdict", "")), number(str(form.get("at", "")), len(review.cases))
        if verdict == "undo":
            last = next(reversed(review.decided), at)
            review.take_back(last)
            return RedirectResponse(f"./?at={last}", 303)
        if at >= len(review.cases) or verdict not in allowed(review.cases[at], review.classes):
            raise HTTPException(400, f"{verdict!r} is no verdict on picture {at + 1}: use the page's buttons")
        review.decide(at, verdict)
        return RedirectResponse(f"./?at={review.after(at)}", 303)

    settings = Settings(review.root / "releases")
    routes = [
        Route("/", index),
        Route("/picture/{at}", picture),
        Route("/decide", decide, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Starlette(
        routes=[Mount(f"/{token}", routes=routes)],
        middleware=[
            Middleware(Envelope, settings=settings),
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
        ],
    )


def allowed(case: Case, classes: Sequence[str]) -> list[str]:
    return [REJECT, *([KEEP] if case.label else []), *(f"={label}" for label in classes)]


def number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise HTTPException(404, f"there is no picture {text!r} here")
    return int(text)


def serve(review: Review, port: int) -> None:
    """Serve the page on this machine until Ctrl-C. Raises OSError if the port is taken."""
    token = secrets.token_urlsafe(16)
    with socket.create_server(("127.0.0.1", port)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
        print(f"{len(review.cases)} pictures to look at: {address}", flush=True)
        print("Ctrl-C when you are done", flush=True)
        # uvicorn ends its work in good order and passes Ctrl-C on.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(create(review, token), log_level="warning", lifespan="off")).run(
                [listening]
            )
    sweep(review.root)
    print(f"{len(review.decided)} decided; the next run takes it in: {review.again}")
