"""From a request's pictures to their answers: one way for the pages, the JSON side and addresses."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from starlette.requests import Request

from greenr_luigi.web.intake import Upload
from greenr_luigi.web.model import Answer
from greenr_luigi.web.problem import Problem
from greenr_luigi.web.state import State

#: The name of a picture, and its answer or why it has none.
Answered = tuple[str, Answer | Problem]


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
        results = await request.state["classifier"].classify(pictures, heat=heat, picture=picture)
        return list(zip(names, results, strict=True))
