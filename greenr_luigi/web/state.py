"""What every request finds in its worker, and the one way from its pictures to their answers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TypedDict

from starlette.requests import Request

from greenr_luigi.web.classifier import Classifier
from greenr_luigi.web.feedback import Feedback
from greenr_luigi.web.fetching import Fetcher
from greenr_luigi.web.intake import Intake, Upload
from greenr_luigi.web.layers import client
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.settings import Settings

#: The name of a picture, and its answer or why it has none.
Answered = tuple[str, Answer | Problem]


class State(TypedDict):
    """`request.state`: it lives as long as the worker."""

    settings: Settings
    classifier: Classifier
    fetcher: Fetcher
    intake: Intake
    feedback: Feedback


async def answer(
    request: Request[State],
    receiving: AbstractAsyncContextManager[Upload],
    *,
    heat: bool = False,
    picture: bool = False,
) -> list[Answered]:
    """Answers to the pictures that `receiving` brings, all by one release. `heat`, `picture`: draw the heat map and a
    small copy of the picture into each answer.

    Raises Problem when no pictures come, and as Classifier.classify.
    """
    async with receiving as upload:
        names, pictures = zip(*upload.pictures, strict=True)
        ours, who = request.state["classifier"], client(request.scope)
        results = await ours.classify(pictures, who, heat=heat, picture=picture)
        return list(zip(names, results, strict=True))
