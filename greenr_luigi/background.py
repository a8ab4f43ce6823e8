"""Work that goes on in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Gives = TypeVar("Gives")
Gave = TypeVar("Gave")


def in_thread(call: Callable[Given, Gives], *args: Given.args, **more: Given.kwargs) -> Future[Gives]:
    """Call in a thread that nobody waits for, not even the end of the program. Raises OSError where the system gives
    none."""
    future: Future[Gives] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            settle(future, call, *args, **more)

    try:
        threading.Thread(target=run, daemon=True, name="fetching").start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    return future


def settle(
    future: Future[Gives], call: Callable[Given, Gives], *args: Given.args, **more: Given.kwargs
) -> None:
    """Have a future give what a call does."""
    try:
        future.set_result(call(*args, **more))
    except BaseException as error:  # noqa: BLE001  It is raised where the result is asked for.
        future.set_exception(error)


def in_background(work: Coroutine[Any, Any, Gave]) -> Future[Gave]:
    """Run in the one loop of this process, in a thread that nobody waits for: a loop has three open files, and many
    fetches at once would have too many."""
    return asyncio.run_coroutine_threadsafe(work, _shared_loop())


def give_way() -> None:
    """Wait until the loop has done what was ready for it. For a thread that computes: both need the interpreter, and
    what the loop asks for is under way while others compute."""
    done = threading.Event()
    _shared_loop().call_soon_threadsafe(done.set)
    done.wait()


#: Two threads at once would each make a loop, and what is of one must not be waited for in the other.
_alone = threading.Lock()


def _renew() -> None:
    global _alone
    _alone = threading.Lock()


# It may have been held by a thread that stays behind.
os.register_at_fork(after_in_child=_renew)


def _shared_loop() -> asyncio.AbstractEventLoop:
    with _alone:
        return _loop(os.getpid())


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """Of a process: the threads of one that was forked stay behind."""
    loop = asyncio.new_event_loop()
    in_thread(loop.run_forever)
    return loop
