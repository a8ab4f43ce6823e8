"""What visitors say of answers: off unless switched on, from our own page only, and so much a minute."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from greenr_luigi.http_security import same_origin
from greenr_luigi.pictures import door
from greenr_luigi.serving import feedback_store
from greenr_luigi.web import intake
from greenr_luigi.web.problem import Problem, unusable
from greenr_luigi.web.security import visitor
from greenr_luigi.web.settings import Settings

#: Verdicts of one visitor and of all, in a worker in a minute, and visitors remembered.
A_MINUTE, OF_ALL = 20, 200
VISITORS = 10_000


class Feedback:
    """One worker's side of the feedback folder."""

    def __init__(self, settings: Settings) -> None:
        self.on = settings.feedback
        self.folder = feedback_store.feedback_folder(settings.store)
        self.heard: OrderedDict[str, list[float]] = OrderedDict()
        self.all: list[float] = []

    def admit(self, visitor: str) -> None:
        """Count a visitor's verdict. Raises Problem: 429 for more than A_MINUTE in a minute, or OF_ALL of all: who
        has many addresses is many visitors."""
        now = time.monotonic()
        recent = [when for when in self.heard.pop(visitor, []) if now - when < 60]
        self.all = [when for when in self.all if now - when < 60]
        if len(recent) >= A_MINUTE or len(self.all) >= OF_ALL:
            self.heard[visitor] = recent
            raise Problem(429, "too-often", "that is a lot of feedback: go on in a minute", retry_after=60)
        self.heard[visitor] = [*recent, now]
        self.all.append(now)
        while len(self.heard) > VISITORS:
            self.heard.popitem(last=False)

    def keep(self, data: bytes, label: str, predicted: str, release: str) -> str:
        """Store a picture under a label; returns its file's name in the folder. Raises Problem."""
        try:
            return feedback_store.keep(self.folder, data, label, predicted, release)
        except door.UnusablePicture as error:
            raise unusable(error) from None
        except feedback_store.FeedbackFull as error:
            raise Problem(507, "feedback-full", str(error)) from None


async def give(request: Request[Any]) -> Response:
    """A picture (`file`) and what it shows (`label`, empty for none of the classes)."""
    kept, model = request.state["feedback"], request.state["classifier"].model
    if not kept.on:
        raise Problem(403, "feedback-off", "feedback is switched off here (GREENR_FEEDBACK=1 switches it on)")
    if not same_origin(request.headers):
        raise Problem(403, "foreign", "feedback is taken from this page only")
    kept.admit(visitor(request.scope))
    async with request.state["intake"].form(request) as form:
        found = await intake.uploads(form)
        label, predicted = str(form.get("label", feedback_store.NEITHER)), str(form.get("predicted", ""))
        if len(found) != 1:
            raise Problem(400, "no-picture", "no picture came: send it in the form field 'file'")
        if model is None or (label != feedback_store.NEITHER and label not in model.classes):
            raise Problem(400, "no-label", "the model knows no such class: choose one of the page's")
        if predicted not in model.classes:
            predicted = ""
        name = await request.state["classifier"].submit(
            kept.keep, found[0][1], label, predicted, model.digest
        )
    return JSONResponse({"kept": name})
