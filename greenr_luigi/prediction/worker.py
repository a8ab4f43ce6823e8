"""One of the processes that answer: it loads the release, and then reads and asks picture by picture.

Whatever a file does to a decoder ends no more than this process; and each core has one, as in the server.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi import lifetime
from greenr_luigi.errors import GreenrError
from greenr_luigi.lists import is_address
from greenr_luigi.pictures.door import UnusablePicture
from greenr_luigi.pictures.unusable import MAX_BYTES
from greenr_luigi.prediction.inputs import Input
from greenr_luigi.prediction.rows import Found, answered, refused
from greenr_luigi.sources.source import Unavailable
from greenr_luigi.staleness import regular
from greenr_luigi.text import Network, networks
from greenr_luigi.web.model import Model, load

if TYPE_CHECKING:
    from greenr_luigi.sources.download import Session

#: Files that are read ahead, and addresses that are fetched at a time.
AHEAD = 4
#: A file's bytes, no more than one more than a picture may have; its size and time, as in Found.
Read = tuple[bytes, tuple[int, int]]


def main(parent: str, channel: str, store: str, digest: str, int8: str, allow: str, seconds: str) -> None:
    """`channel`: the descriptor of a socket. What comes first out of it is why the release cannot be loaded, empty if
    it can; then, for each Input of the lists that go in, a Found, in the same order and in lists, too. `seconds`:
    after which a list is handed in; 0: each by itself."""
    if not lifetime.end_with(int(parent), signal.SIGKILL):
        return
    with Connection(int(channel)) as connection:
        try:
            model = load(Path(store), digest, bool(int(int8)))
        except (GreenrError, OSError, MemoryError) as error:
            connection.send(str(error) or type(error).__name__)
            return
        connection.send("")
        answer_all(connection, model, networks(allow), float(seconds))


def answer_all(connection: Connection, model: Model, allow: tuple[Network, ...], seconds: float) -> None:
    given, begun = deque[Input](), deque[tuple[Input, Callable[[], Read]]]()
    answers, handed_in = list[Found](), time.monotonic()
    with ThreadPoolExecutor(AHEAD) as fetching:
        while True:
            is_waited_for = not begun or is_address(begun[0][0].file)
            if answers and (is_waited_for or time.monotonic() - handed_in >= seconds):
                connection.send(answers)
                answers, handed_in = [], time.monotonic()
            while not begun or (not given and connection.poll()):
                given.extend(connection.recv())
                while given and len(begun) < AHEAD:
                    begun.append((given[0], begin(given.popleft(), fetching, allow)))
            answers.append(answer_one(model, *begun.popleft()))
            if given:
                begun.append((given[0], begin(given.popleft(), fetching, allow)))


def answer_one(model: Model, given: Input, read: Callable[[], Read]) -> Found:
    """As the page answers for the same bytes, and of a person's own file in a format that is no visitor's, too."""
    try:
        data, seen = read()
    except Unavailable as why:
        return Found(refused(given.path, why.reason, str(why), model.digest))
    try:
        return Found(answered(given.path, model.answer(data, own=not is_address(given.file))), seen)
    except UnusablePicture as error:
        # Takes as long to import as ten pictures.
        from greenr_luigi.web.problem import unusable

        problem = unusable(error)
        return Found(refused(given.path, problem.code, problem.message, model.digest), seen)


def begin(given: Input, fetching: Executor, allow: tuple[Network, ...]) -> Callable[[], Read]:
    """Begin to read or fetch. What is returned gives the bytes, or raises Unavailable."""
    if is_address(given.file):
        return fetching.submit(fetch, given.file, allow).result
    fault = given.fault
    try:
        if not fault:
            descriptor = regular.descriptor(given.file, os.O_RDONLY)
            # A thread that read a file that is in memory would take longer than that takes.
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, MAX_BYTES, os.POSIX_FADV_WILLNEED)
            return functools.partial(read, descriptor)
    except OSError as error:
        fault = f"it cannot be read: {error.strerror}"
    except ValueError:
        fault = "it cannot be read: no path has the character 0"
    return functools.partial(unreadable, fault)


def read(descriptor: int) -> Read:
    """The rest of a file, which is closed then. Raises Unavailable."""
    try:
        status = os.fstat(descriptor)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            left, parts = min(status.st_size, MAX_BYTES) + 1, list[bytes]()
            while left > 0 and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
            return b"".join(parts), (status.st_size, status.st_mtime_ns)
    except OSError as error:
        return unreadable(f"it cannot be read: {error.strerror}")


def unreadable(fault: str) -> Read:
    raise Unavailable("unreadable", fault)


def fetch(address: str, allow: tuple[Network, ...]) -> Read:
    """Raises Unavailable."""
    # Takes long to import, and few lists have addresses.
    from greenr_luigi.sources import download

    try:
        return download.fetch(_session(allow), address), (0, 0)
    except Unavailable as why:
        if why.reason == "too-large":
            raise Unavailable("picture-too-large", str(why)) from None
        words = (
            "it does not lead to a public server: name your own network in [server] fetch_allow of luigi.cfg"
        )
        raise Unavailable(f"address-{why.reason}", words if why.reason == "inside" else str(why)) from None


@functools.cache
def _session(allow: tuple[Network, ...]) -> Session:
    """One for all addresses, so that a host that answers nothing is not waited for each time. Nothing is learned from
    what is answered for, so that opt-outs from that do not matter."""
    from greenr_luigi.sources import download

    return download.Session(allow=allow, opt_outs=False)


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):  # Whoever asked has gone.
        main(*sys.argv[1:])
    # What is still being fetched is not waited for.
    os._exit(0)
