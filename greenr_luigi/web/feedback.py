"""What visitors say of answers: off unless switched on, from our own page only, and so much a minute."""

from __future__ import annotations

import logging
import time
from typing import Any, TypedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.http_security import same_origin
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import STRANGERS, Terms
from greenr_luigi.serving import feedback_store
from greenr_luigi.web import intake
from greenr_luigi.web.layers import client
from greenr_luigi.web.problem import Problem, unusable
from greenr_luigi.web.settings import Settings

log = logging.getLogger("greenr")
#: Verdicts that a worker takes in a minute: of one visitor, and of all.
PER_VISITOR, PER_WORKER = 20, 200
#: Seconds until a worker counts again what is kept, once there was no room.
COUNT_AGAIN = 60.0


class Kept(TypedDict):
    """The name of the picture's file in the feedback folder."""

    kept: str


class Feedback:
    """One worker's side of the feedback folder."""

    def __init__(self, settings: Settings) -> None:
        self.on = settings.feedback
        self.folder = feedback_store.feedback_folder(settings.store)
        #: When, by time.monotonic(), and from whom the verdicts of the last minute came.
        self.recent: list[tuple[float, str]] = []
        #: Until when, by time.monotonic(), there is no room: to count what is kept takes long.
        self.full_until = 0.0

    def admit(self, visitor: str) -> None:
        """Count a visitor's verdict. Raises Problem: 429 for more than PER_VISITOR in a minute, or PER_WORKER of all,
        since who has many addresses is many visitors."""
        now = time.monotonic()
        self.recent = [(when, who) for when, who in self.recent if now - when < 60]
        if len(self.recent) >= PER_WORKER or sum(who == visitor for _, who in self.recent) >= PER_VISITOR:
            raise Problem(429, "too-often", "that is a lot of feedback: go on in a minute", retry_after=60)
        self.recent.append((now, visitor))

    def keep(self, data: bytes, label: str, predicted: str, release: str, terms: Terms = STRANGERS) -> str:
        """Store a picture under a label; returns its file's name in the folder. Raises Problem."""
        if time.monotonic() < self.full_until:
            raise Problem(507, "feedback-full", "there is no room for more feedback: tell who runs this page")
        try:
            return feedback_store.keep(self.folder, data, label, predicted, release, terms)
        except door.UnusablePicture as error:
            raise unusable(error) from None
        except feedback_store.FeedbackFull as error:
            self.full_until = time.monotonic() + COUNT_AGAIN
            raise Problem(507, "feedback-full", str(error)) from None
        except OSError as error:
            log.error("feedback cannot be kept: %s", error)
            message = "feedback cannot be kept just now: try again later, or tell who runs this page"
            raise Problem(507, "feedback-full", message, retry_after=60) from None


async def give(request: Request[Any]) -> Response:
    """A picture (`file`) and what it shows (`label`, empty for none of the classes)."""
    feedback, classifier = request.state["feedback"], request.state["classifier"]
    if not feedback.on:
        raise Problem(403, "feedback-off", "feedback is switched off here (GREENR_FEEDBACK=1 switches it on)")
    if not same_origin(request.headers):
        raise Problem(403, "foreign", "feedback is taken from this page only")
    who = client(request.scope)
    feedback.admit(who)
    async with intake.uploaded(request) as upload:
        ((_, data),) = upload.pictures
        model = classifier.serving_model()
        label, predicted = (str(upload.fields.get(name, "")) for name in ("label", "predicted"))
        if label != feedback_store.NEITHER and label not in model.card.classes:
            raise Problem(400, "no-label", "the model knows no such class: choose one of the page's")
        if predicted not in model.card.classes:
            predicted = ""
        kept = (data, label, predicted, model.digest, model.card.terms)
        name = await classifier.submit(who, feedback.keep, *kept)
    return JSONResponse(Kept(kept=name))
