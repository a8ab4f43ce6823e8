"""The classifier of one worker: a bounded pool that answers, by the model that serves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from greenr_luigi.pictures.door import UnusablePicture
from greenr_luigi.web import metrics
from greenr_luigi.web.follower import WATCH, Follower
from greenr_luigi.web.model import Answer, Model, trim_memory
from greenr_luigi.web.problem import Problem, unusable
from greenr_luigi.web.settings import Settings
from greenr_luigi.web.turns import Turns, settle

log = logging.getLogger("greenr")
Result = TypeVar("Result")
#: Seconds without a picture after which a worker gives back what pictures took.
IDLE = 1.0


class Classifier:
    """Answers with the model that its follower holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.turns = Turns(settings.threads, settings.queue)
        self.follower = Follower(settings, self.trim)

    @property
    def model(self) -> Model | None:
        return self.follower.model

    def serving_model(self) -> Model:
        """Raises Problem: 503 "no-model" before the first release."""
        if self.model is None:
            # Why names folders of this machine, and so is for the log and /readyz alone.
            message = "there is no model to answer with yet: try again later, or ask who runs this page"
            raise Problem(503, "no-model", message, retry_after=5)
        return self.model

    async def classify(
        self, pictures: Sequence[bytes], visitor: str = "", *, heat: bool = False, picture: bool = False
    ) -> list[Answer | Problem]:
        """An answer or a problem for each picture of a visitor, all from one model; `heat` and `picture` as in
        Model.answer. A picture whose place another visitor needed has the problem "busy".

        Raises Problem: 503 "no-model" before the first release, 503 "busy" when too many pictures wait.
        """
        model = self.serving_model()
        self.turns.make_room(visitor, len(pictures))

        def answer(data: bytes) -> Answer | Problem:
            try:
                result = model.answer(data, heat=heat, picture=picture)
            except UnusablePicture as error:
                problem = unusable(error)
                metrics.count(metrics.PICTURES, problem.code)
                return problem
            metrics.count(metrics.PICTURES, "sure" if result.sure else "unsure")
            return result

        asked = [self.submit(visitor, answer, data) for data in pictures]
        try:
            return [await answer_or_problem(one) for one in asked]
        finally:
            for one in asked:
                one.cancel()

    def submit(self, visitor: str, work: Callable[..., Result], *arguments: Any) -> asyncio.Future[Result]:
        """Run what decodes a picture when it is the visitor's turn: no more than `threads` of them are in memory at a
        time. Raises Problem: 503 "busy" if another visitor needed its place."""
        loop = asyncio.get_running_loop()
        result = loop.create_future()
        job = self.turns.submit(visitor, functools.partial(work, *arguments))

        def hand_over() -> None:
            if not result.done():
                settle(result, job.result)

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                loop.call_soon_threadsafe(hand_over)

        # As asyncio.wrap_future, which takes ten times as long.
        job.add_done_callback(tell)
        result.add_done_callback(lambda one: job.cancel() if one.cancelled() else None)
        return result

    def trim(self) -> None:
        """Give memory back, by the thread that answers."""
        with contextlib.suppress(RuntimeError):  # The pool is closed: the worker is going.
            self.turns.pool.submit(trim_memory)

    async def watch(self) -> None:
        """Look after pictures, memory and gunicorn's master for as long as the worker lives."""
        while True:
            now = time.monotonic()
            if self.turns.begun and now - min(self.turns.begun) > self.settings.picture_seconds:
                # A thread cannot be stopped. gunicorn starts another worker.
                log.critical(
                    "a picture takes longer than %g s: this worker ends", self.settings.picture_seconds
                )
                os._exit(1)
            if (done := self.turns.last_done) is not None and not self.turns.pending and now - done > IDLE:
                self.turns.last_done = None
                self.trim()
            if os.getppid() != self.follower.master:
                log.error("gunicorn's master (pid %s) is gone: this worker ends too", self.follower.master)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            await asyncio.sleep(WATCH)


async def answer_or_problem(asked: asyncio.Future[Answer | Problem]) -> Answer | Problem:
    try:
        return await asked
    except Problem as problem:
        return problem


def end_without_watch(watching: asyncio.Task[None]) -> None:
    """A worker that no longer follows `current` must not stay: gunicorn starts another one."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.critical("the watch over the release has failed: this worker ends", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Classifier]:
    """A classifier whose follower has begun, and goes on."""
    classifier = Classifier(settings)
    await classifier.follower.begin()
    watching = [asyncio.create_task(task) for task in (classifier.follower.follow(), classifier.watch())]
    for task in watching:
        task.add_done_callback(end_without_watch)
    try:
        yield classifier
    finally:
        for task in watching:
            task.cancel()
        await asyncio.wait(watching)
        classifier.turns.pool.shutdown(wait=False, cancel_futures=True)
        classifier.follower.end()
