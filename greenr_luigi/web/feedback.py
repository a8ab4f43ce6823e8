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

#: Verdicts of one visitor and of all, in a worker in a minute; and visitors whose verdicts are counted.
PER_VISITOR, PER_WORKER = 20, 200
MOST_VISITORS = 10_000


class Feedback:
    """One worker's side of the feedback folder."""

    def __init__(self, settings: Settings) -> None:
        self.on = settings.feedback
        self.folder = feedback_store.feedback_folder(settings.store)
        #: When each visitor, the least recent first, and all of them sent a verdict in the last minute.
        self.times: OrderedDict[str, list[float]] = OrderedDict()
        self.all_times: list[float] = []

    def admit(self, visitor: str) -> None:
        """Count a visitor's verdict. Raises Problem: 429 for more than PER_VISITOR in a minute, or PER_WORKER of all,
        since who has many addresses is many visitors."""
        now = time.monotonic()
        times = [when for when in self.times.pop(visitor, []) if now - when < 60]
        self.all_times = [when for when in self.all_times if now - when < 60]
        if len(times) >= PER_VISITOR or len(self.all_times) >= PER_WORKER:
            self.times[visitor] = times
            raise Problem(429, "too-often", "that is a lot of feedback: go on in a minute", retry_after=60)
        self.times[visitor] = [*times, now]
        self.all_times.append(now)
        while len(self.times) > MOST_VISITORS:
            self.times.popitem(last=False)

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
    feedback, classifier = request.state["feedback"], request.state["classifier"]
    if not feedback.on:
        raise Problem(403, "feedback-off", "feedback is switched off here (GREENR_FEEDBACK=1 switches it on)")
    if not same_origin(request.headers):
        raise Problem(403, "foreign", "feedback is taken from this page only")
    feedback.admit(visitor(request.scope))
    async with intake.uploaded(request) as upload:
        ((_, data),) = upload.pictures
        model = classifier.serving_model()
        label, predicted = (str(upload.fields.get(name, "")) for name in ("label", "predicted"))
        if label != feedback_store.NEITHER and label not in model.card.classes:
            raise Problem(400, "no-label", "the model knows no such class: choose one of the page's")
        if predicted not in model.card.classes:
            predicted = ""
        name = await classifier.submit(feedback.keep, data, label, predicted, model.digest)
    return JSONResponse({"kept": name})
