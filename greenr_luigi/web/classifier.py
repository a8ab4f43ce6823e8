"""The classifier of one worker: a bounded pool that answers, and a watch that swaps the model in process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import math
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from greenr_luigi.pictures.door import UnusablePicture
from greenr_luigi.serving import releases
from greenr_luigi.serving.state import Refusal, WorkerState, worker_file, write_worker_state
from greenr_luigi.web import metrics
from greenr_luigi.web.model import Answer, Model, ModelError, load, trim
from greenr_luigi.web.problem import Problem, busy, unusable
from greenr_luigi.web.settings import Settings

log = logging.getLogger("greenr")
Done = TypeVar("Done")
#: Seconds between two looks at `current`; a look is one readlink.
LOOK = 0.1
#: Seconds without a picture after which a worker gives back what pictures took.
IDLE = 1.0
#: Seconds until a release that could not be read, for a reason that may pass, is tried again.
RETRY = 5.0


class Classifier:
    """Answers with the model that `current` points to; the last good one while `current` is broken."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: Model | None = None
        #: Why the release that `current` points to does not serve, or None.
        self.problem: Refusal | None = None
        self.pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="picture")
        self.loader = ThreadPoolExecutor(1, thread_name_prefix="loader", initializer=give_way)
        self.waiting = 0
        #: When the last picture was done; None once what it took was given back.
        self.busy: float | None = None
        self.refused: tuple[str | None, tuple[int, int] | None] | None = None
        #: When the refused release is tried again, by time.monotonic().
        self.retry = math.inf
        #: When the pictures that are being worked on were begun.
        self.begun: set[float] = set()
        self.parent = os.getppid()
        #: Why the last `tell` failed.
        self.untold = ""

    async def classify(self, pictures: Sequence[bytes]) -> list[Answer | Problem]:
        """An answer or a refusal for each picture, all from one model.

        Raises Problem: 503 "no-model" before the first release, 503 "busy" when too many pictures wait.
        """
        model = self.model
        if model is None:
            why = self.problem.message if self.problem else "no release yet"
            raise Problem(503, "no-model", f"there is no model to answer with: {why}", retry_after=5)
        if self.waiting and self.waiting + len(pictures) > self.settings.threads + self.settings.queue:
            raise busy("pictures")

        def one(data: bytes) -> Answer | Problem:
            try:
                return model.answer(data)
            except UnusablePicture as error:
                return unusable(error)

        return list(await asyncio.gather(*(self.submit(one, data) for data in pictures)))

    async def submit(self, work: Callable[..., Done], *given: Any) -> Done:
        """Run what decodes a picture in the pool, so that no more than `threads` of them are in memory at a time. A
        request that gives up still counts until its thread is done."""
        loop = asyncio.get_running_loop()
        self.waiting += 1

        def timed() -> Done:
            began = time.monotonic()
            self.begun.add(began)
            try:
                return work(*given)
            finally:
                self.begun.discard(began)

        def done(_: Future[Done]) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: the worker is going.
                loop.call_soon_threadsafe(self.leave)

        future = self.pool.submit(timed)
        future.add_done_callback(done)
        return await asyncio.wrap_future(future, loop=loop)

    def leave(self) -> None:
        self.waiting -= 1
        self.busy = time.monotonic()

    def swap(self) -> None:
        """Bring the model in line with `current`: load and test beside, then rebind one reference. Blocks."""
        store = self.settings.store
        digest = releases.current(store)
        if self.model is not None and digest == self.model.digest:
            self.problem = None
            return
        seen = (digest, releases.identity(store, digest))
        if seen == self.refused and time.monotonic() < self.retry:
            return
        try:
            if digest is None:
                raise releases.ReleaseError(f"no release is current in {store}: deploy one")
            with self.turn():
                model = load(store, digest, self.settings.int8)
            self.model = model
            self.problem = self.refused = None
            metrics.SWAPS.inc()
            log.info("serving release %s in %s", digest, self.model.precision)
            with contextlib.suppress(RuntimeError):  # The pool is closed: the worker is going.
                self.pool.submit(trim)
        except (releases.ReleaseError, ModelError) as error:
            self.refuse(seen, error, math.inf)
        except (OSError, MemoryError) as error:
            self.refuse(seen, error, time.monotonic() + RETRY)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Of workers that serve, half as many as there are cores load at a time: pictures have the others meanwhile."""
        if self.settings.run_dir is None or self.model is None:
            yield
            return
        slots = max(1, len(os.sched_getaffinity(0)) // 2)
        with (self.settings.run_dir / f"loading-{os.getpid() % slots}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def refuse(
        self, seen: tuple[str | None, tuple[int, int] | None], error: BaseException, retry: float
    ) -> None:
        message = str(error) or type(error).__name__
        if (seen, message) != (self.refused, self.problem and self.problem.message):
            serving = self.model.digest if self.model else "nothing"
            log.error("release %s refused, %s serves on: %s", seen[0], serving, message)
        self.problem = Refusal(seen[0], message, seen[1])
        self.refused, self.retry = seen, retry

    def tell(self) -> bool:
        """Write what this worker serves where `server` looks for it; False if that could not be written."""
        if self.settings.run_dir is None:
            return True
        try:
            write_worker_state(self.settings.run_dir, self.state())
        except OSError as error:
            if str(error) != self.untold:
                log.error("what this worker serves cannot be written down: %s", error)
            self.untold = str(error)
            return False
        self.untold = ""
        return True

    def state(self) -> WorkerState:
        digest, precision = (self.model.digest, self.model.precision) if self.model else (None, None)
        return WorkerState(os.getpid(), self.parent, digest, precision, self.problem)

    async def watch(self) -> None:
        """Follow `current` for as long as the worker lives; leave when gunicorn's master has gone."""
        told: WorkerState | None = None
        while True:
            await asyncio.get_running_loop().run_in_executor(self.loader, self.swap)
            state = self.state()
            if told != state and await asyncio.get_running_loop().run_in_executor(self.loader, self.tell):
                told = state
            if self.begun and time.monotonic() - min(self.begun) > self.settings.picture_seconds:
                # A thread cannot be stopped. gunicorn starts another worker.
                log.critical(
                    "a picture takes longer than %g s: this worker ends", self.settings.picture_seconds
                )
                os._exit(1)
            if self.busy is not None and not self.waiting and time.monotonic() - self.busy > IDLE:
                self.busy = None
                await asyncio.get_running_loop().run_in_executor(self.pool, trim)
            if os.getppid() != self.parent:
                log.error("gunicorn's master (pid %s) is gone: this worker ends too", self.parent)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            await asyncio.sleep(LOOK)


def give_way() -> None:
    """Let this thread take a sixth of what an answering one takes: a swap then costs those who wait less."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 8)


def unwatched(watching: asyncio.Task[None]) -> None:
    """A worker that no longer follows `current` must not stay: gunicorn starts another one."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.critical("the watch over the release has failed: this worker ends", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Classifier]:
    """A classifier that has looked at `current` once, and goes on looking."""
    classifier = Classifier(settings)
    classifier.swap()
    classifier.tell()
    watching = asyncio.create_task(classifier.watch())
    watching.add_done_callback(unwatched)
    try:
        yield classifier
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        for pool in (classifier.pool, classifier.loader):
            pool.shutdown(wait=False, cancel_futures=True)
        if settings.run_dir is not None:
            worker_file(settings.run_dir, os.getpid()).unlink(missing_ok=True)
