"""Remembers which stages were found stale, and why, for as long as that can be trusted."""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar, TypeVarTuple

from .locks import thread_lock

Given = TypeVarTuple("Given")
Gives = TypeVar("Gives")

#: Seconds: an answer that took less to find is not worth remembering.
QUICK = 0.05

#: What functions have found for the question that is being answered in this thread, by function and what it was given.
_found: ContextVar[dict[Hashable, Any] | None] = ContextVar("_found", default=None)


def once(function: Callable[[*Given], Gives]) -> Callable[[*Given], Gives]:
    """The function, which looks for the same thing once while one question is being answered, and each time else."""

    @functools.wraps(function)
    def answer(*given: *Given) -> Gives:
        if (found := _found.get()) is None:
            return function(*given)
        if (function, given) not in found:
            found[function, given] = function(*given)
        gives: Gives = found[function, given]
        return gives

    return answer


@contextlib.contextmanager
def question() -> Iterator[None]:
    """What is looked for meanwhile, in this thread, is for one question, which may be a part of another."""
    begun = _found.set({}) if _found.get() is None else None
    try:
        yield
    finally:
        if begun:
            _found.reset(begun)


class Memo:
    """Answers by stage, each with the time until which it holds.

    A stage asks the stages before it whether they are stale, and Luigi asks every stage in turn: without a memo, a
    stage is examined once for each way that leads to it. But an answer must not outlive a change on disk. So there are
    two rules. While one question is being answered, each stage is examined once. After that, its answer holds for
    as long as it took to find: a change within so short a time could have been missed by the examination, too.
    """

    def __init__(self) -> None:
        #: By stage: until when the answer holds on the monotonic clock, the answer, and the seconds it took to find.
        self._answers: dict[Hashable, tuple[float, str | None, float]] = {}
        self._asked = False
        self._one_thread = thread_lock()

    def forget(self, stage: Hashable = None) -> None:
        """Forget all answers, or that of one stage."""
        with self._one_thread:
            if stage is None:
                self._answers.clear()
            else:
                self._answers.pop(stage, None)

    def answer(self, stage: Hashable, examine: Callable[[], str | None]) -> str | None:
        """The remembered answer of a stage while it holds, else what `examine` returns."""
        with self._one_thread:
            return self._answer(stage, examine)

    def _answer(self, stage: Hashable, examine: Callable[[], str | None]) -> str | None:
        start = time.monotonic()
        if stage in self._answers and start < self._answers[stage][0]:
            return self._answers[stage][1]
        with self.one_question():
            answer = examine()
            self._answers[stage] = (math.inf, answer, time.monotonic() - start)
        return answer

    @contextlib.contextmanager
    def one_question(self) -> Iterator[None]:
        """What is asked meanwhile is one question."""
        with self._one_thread:
            outermost, self._asked = not self._asked, True
            try:
                with question():
                    yield
            finally:
                if outermost:
                    self._asked, now = False, time.monotonic()
                    self._answers = {
                        stage: (min(until, now + seconds), answer, seconds)
                        for stage, (until, answer, seconds) in self._answers.items()
                        if seconds > QUICK
                    }
