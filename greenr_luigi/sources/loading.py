"""Candidates that are loaded and checked side by side: many are under way, with no thread that waits for what a host
sends, and as many are checked at once as there are cores. To ask goes first: hosts take their time, in which there is
nothing to do but to check."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

from greenr_luigi import background, cores
from greenr_luigi.sources.memory import MEMORY
from greenr_luigi.sources.source import THREADS, Load

#: What gives bytes, or raises Unavailable.
Given = Callable[[], bytes]
#: Where more than so many wait to be checked, a thread keeps those that come then.
WAIT = 16
Result = TypeVar("Result")


def loaded(load: Load) -> bytes:
    """The bytes, once they are there. Raises Unavailable."""
    given = load()
    return given.result() if isinstance(given, Future) else given


class Loader:
    """Begins what its block waits for; what is not there when that ends is given up. `local`: a load takes no longer
    than to read a file, and a picture is read where it is checked."""

    def __init__(self, local: bool = False) -> None:
        # A picture may take 200 MB while it is decoded.
        self._checks = ThreadPoolExecutor(cores.allowed())
        self._loads = None if local else ThreadPoolExecutor(THREADS)
        self._keeper = ThreadPoolExecutor(1)
        self._coming, self._unchecked = set[Future[bytes]](), set[Future[bytes]]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loads:
            self._loads.shutdown(cancel_futures=True)
        for coming in [*self._coming]:
            coming.cancel()
        self._keeper.shutdown(cancel_futures=True)
        self._checks.shutdown(cancel_futures=True)

    def begin(
        self,
        load: Load,
        check: Callable[[Given], Result],
        keep: Callable[[bytes], object] = lambda data: None,
    ) -> Future[Result]:
        """What `check` makes, in one of few threads, of what `load` brings. `keep` gets what has to wait for that."""
        if self._loads is None:
            return self._checks.submit(check, functools.partial(loaded, load))
        checked: Future[Result] = Future()
        self._loads.submit(self._load, load, check, keep, checked)
        return checked

    def _load(
        self,
        load: Load,
        check: Callable[[Given], Result],
        keep: Callable[[bytes], object],
        checked: Future[Result],
    ) -> None:
        coming: Future[bytes] = Future()
        try:
            if isinstance(given := load(), Future):
                coming = given
            else:
                coming.set_result(MEMORY.hold(given))
        except BaseException as error:  # noqa: BLE001  It is raised where it is checked.
            coming.set_exception(error)
        self._coming.add(coming)
        coming.add_done_callback(functools.partial(self._come, check, keep, checked))

    def _come(
        self,
        check: Callable[[Given], Result],
        keep: Callable[[bytes], object],
        checked: Future[Result],
        come: Future[bytes],
    ) -> None:
        self._coming.discard(come)
        # Once the block has ended, nobody asks.
        with contextlib.suppress(RuntimeError):
            self._unchecked.add(come)
            self._checks.submit(self._settle, checked, check, come)
            if len(self._unchecked) > WAIT:
                self._keeper.submit(self._keep, keep, come)

    def _keep(self, keep: Callable[[bytes], object], come: Future[bytes]) -> None:
        # Where it cannot be written, as on a full disk, no picture can, which is told where that is tried.
        if come in self._unchecked and not come.cancelled() and not come.exception():
            keep(come.result())

    def _settle(self, checked: Future[Result], check: Callable[[Given], Result], come: Future[bytes]) -> None:
        background.give_way()
        self._unchecked.discard(come)
        background.settle(checked, check, come.result)
