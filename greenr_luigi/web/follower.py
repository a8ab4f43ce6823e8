"""What a worker serves: it follows `current`, and swaps the model in process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from greenr_luigi import cores, shared_files
from greenr_luigi.errors import GreenrError
from greenr_luigi.serving import releases, rollout
from greenr_luigi.serving.state import (
    Refusal,
    WorkerState,
    read_worker_states,
    worker_file,
    write_worker_state,
)
from greenr_luigi.web import metrics, trial
from greenr_luigi.web.model import MODELS, Model, load
from greenr_luigi.web.settings import Settings

log = logging.getLogger("greenr")
#: Seconds between two reads of `current`; one is a readlink.
WATCH = 0.1
#: Seconds until a release that could not be loaded, for a reason that may pass, is tried again; of a long try, as many
#: times as long.
RETRY = 5.0
#: The sha256 of models that this process has loaded: those need no trial.
LOADED: set[str] = set()
#: Seconds to wait for other workers that load; then this one loads beside them.
LOADING = 5.0


class Follower:
    """Holds the model that `current` points to; the last good one while `current` is broken. `swapped` is called after
    each swap."""

    def __init__(self, settings: Settings, swapped: Callable[[], object] = lambda: None) -> None:
        self.settings = settings
        self.swapped = swapped
        self.model: Model | None = None
        #: Why the release that `current` points to does not serve, or None.
        self.problem: Refusal | None = None
        #: When the refused release is tried again, by time.monotonic().
        self.retry_at = math.inf
        self.loader = one_loader()
        #: Since when the loader loads a model, by time.monotonic(), if it does.
        self.loading_since: float | None = None
        #: The process that loaded a release on trial last.
        self.trial: subprocess.Popen[bytes] | None = None
        #: What this worker has written of itself.
        self.written: WorkerState | None = None
        self.master = os.getppid()
        #: Why the state could not be written the last time, empty if it could.
        self.write_error = ""

    def swap(self) -> None:
        """Bring the model in line with `current`: load and test beside, then rebind one reference. Blocks."""
        store, loader, began = self.settings.store, self.loader, time.monotonic()
        digest = rollout.current(store)
        if self.model is not None and digest == self.model.digest:
            self.problem = None
            return
        identity = releases.identity(store, digest)
        refused = self.problem and (self.problem.digest, self.problem.seen)
        if refused == (digest, identity) and began < self.retry_at:
            return
        try:
            if digest is None:
                raise releases.ReleaseError(f"no release is current in {store}: deploy one")
            with self.loading_slot():
                models = self.models(digest)
                if not models <= LOADED and not self.serves_elsewhere(digest) and not self.try_out(digest):
                    return
                model = self.load(digest)
                if loader is not self.loader:
                    return  # Given up meanwhile.
                LOADED.update(models)
                self.model, self.problem = model, None
                self.write_state()
            metrics.count(metrics.SWAPS, model.precision)
            log.info("serving release %s in %s", digest, model.precision)
            self.swapped()
        except (GreenrError, OSError, MemoryError) as error:
            now = time.monotonic()
            self.retry_at = math.inf if isinstance(error, GreenrError) else now + RETRY * max(1, now - began)
            if self.model is None and (earlier := self.load_earlier()) and loader is self.loader:
                self.model = earlier
            self.refuse(Refusal(digest, str(error) or type(error).__name__, identity))

    def models(self, digest: str) -> set[str]:
        """The sha256 of a release's models. Raises ReleaseError."""
        with self.timed_loading():
            files = releases.verify(self.settings.store, digest, []).files
        return {files[name].sha256 for name in MODELS if name in files}

    def try_out(self, digest: str) -> bool:
        """Load a release elsewhere; False if that was broken off. Raises as `trial.finish`."""
        store = self.settings.store
        self.trial = trial.start(store, digest, self.settings.int8)
        seconds = self.settings.load_seconds
        return trial.finish(self.trial, digest, seconds, lambda: rollout.current(store) == digest)

    def load(self, digest: str) -> Model:
        """Raises as `model.load`."""
        with self.timed_loading():
            return load(self.settings.store, digest, self.settings.int8)

    @contextlib.contextmanager
    def timed_loading(self) -> Iterator[None]:
        self.loading_since = time.monotonic()
        try:
            yield
        finally:
            self.loading_since = None

    def load_earlier(self) -> Model | None:
        """The last release that has served before the current one, for a worker that has none yet."""
        for digest in rollout.served_before(self.settings.store):
            with contextlib.suppress(GreenrError, OSError, MemoryError):
                return self.load(digest)
        return None

    def refuse(self, problem: Refusal) -> None:
        """Go on without the current release."""
        if problem != self.problem:
            serving = self.model.digest if self.model else "nothing"
            log.error("release %s refused, %s serves on: %s", problem.digest, serving, problem.message)
        self.problem = problem

    def serves_elsewhere(self, digest: str) -> bool:
        """Whether another worker has loaded a release, and so this one can."""
        run_dir = self.settings.run_dir
        return run_dir is not None and any(state.digest == digest for state in read_worker_states(run_dir))

    @contextlib.contextmanager
    def loading_slot(self) -> Iterator[None]:
        """While workers serve, at most half as many as there are cores load at a time; the others go on answering."""
        if self.settings.run_dir is None or self.model is None:
            yield
            return
        slots = max(1, cores.allowed() // 2)
        with contextlib.ExitStack() as slot:
            with contextlib.suppress(TimeoutError):  # Somebody holds it: then without.
                slot.enter_context(
                    shared_files.locked(
                        self.settings.run_dir / f"loading-{os.getpid() % slots}.lock", patience=LOADING
                    )
                )
            yield

    def state(self) -> WorkerState:
        digest, precision = (self.model.digest, self.model.precision) if self.model else (None, None)
        return WorkerState(os.getpid(), self.master, digest, precision, self.problem)

    def write_state(self) -> bool:
        """Write what this worker serves where `server` looks for it; False if that could not be written."""
        try:
            if self.settings.run_dir is not None:
                write_worker_state(self.settings.run_dir, self.state())
            self.write_error = ""
        except OSError as error:
            if str(error) != self.write_error:
                log.error("what this worker serves cannot be written down: %s", error)
            self.write_error = str(error)
        return not self.write_error

    async def begin(self) -> None:
        """Look until a model serves, or it is known why none does: a release that is replaced while it is on trial says
        neither."""
        await self.look()
        while self.model is None and self.problem is None:
            await self.look()

    async def follow(self) -> None:
        """Follow `current` for as long as the worker lives."""
        while True:
            await self.look()
            await asyncio.sleep(WATCH)

    async def look(self) -> None:
        """Bring the model in line with `current`, and write down what serves."""
        loop = asyncio.get_running_loop()
        swapping = loop.run_in_executor(self.loader, self.swap)
        while not (await asyncio.wait([swapping], timeout=WATCH))[0]:
            if self.loading_since and time.monotonic() - self.loading_since > self.settings.load_seconds:
                self.give_up()
                break
        else:
            swapping.result()
        state = self.state()
        if state != self.written and await loop.run_in_executor(self.loader, self.write_state):
            self.written = state

    def give_up(self) -> None:
        """A thread cannot be stopped. Another one goes on without the release that this one loads."""
        self.loader, self.loading_since = one_loader(), None
        digest = rollout.current(self.settings.store)
        message = f"release {digest} did not load within {self.settings.load_seconds:g} seconds in a worker"
        self.retry_at = math.inf
        self.refuse(Refusal(digest, message, releases.identity(self.settings.store, digest)))

    def end(self) -> None:
        """The worker ends: nothing more is loaded, and nobody shall find it."""
        if self.trial is not None:
            self.trial.kill()
        self.loader.shutdown(wait=False, cancel_futures=True)
        if self.settings.run_dir is not None:
            worker_file(self.settings.run_dir, os.getpid()).unlink(missing_ok=True)


def one_loader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="loader", initializer=lower_priority)


def lower_priority() -> None:
    """Let this thread take a sixth of what an answering one takes, so that a swap slows answers down less."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 8)
