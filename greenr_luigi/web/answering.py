"""From a request's pictures to their answers: one way for the pages, the JSON side and addresses."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from starlette.requests import Request

from greenr_luigi.web import metrics
from greenr_luigi.web.intake import Upload
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import State


@dataclass(frozen=True)
class Answered:
    """One picture with its answer, or why it has none."""

    name: str
    answer: Answer | None = None
    problem: Problem | None = None


async def answer(
    request: Request[State],
    receiving: AbstractAsyncContextManager[Upload],
    *,
    heat: bool = False,
    picture: bool = False,
) -> list[Answered]:
    """Each picture that `receiving` brings with its answer or problem, all from one release. `heat`, `picture`: draw
    the heat map and a small copy of the picture into each answer.

    Raises Problem when the pictures do not come, and as Classifier.classify.
    """
    async with receiving as upload:
        results = await request.state["classifier"].classify(
            [data for _, data in upload.pictures], heat=heat, picture=picture
        )
        answered = []
        for (name, _), result in zip(upload.pictures, results, strict=True):
            if isinstance(result, Problem):
                metrics.PICTURES.labels(result.code).inc()
                answered.append(Answered(name, problem=result))
            else:
                metrics.PICTURES.labels("sure" if result.sure else "unsure").inc()
                answered.append(Answered(name, answer=result))
        return answered
