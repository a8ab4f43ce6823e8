"""The processes that answer, one a core: what they are given, and what becomes of a picture that one dies of."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection

from greenr_luigi import lifetime
from greenr_luigi.errors import GreenrError
from greenr_luigi.prediction.inputs import Input
from greenr_luigi.prediction.rows import Found, refused
from greenr_luigi.web.settings import Settings

#: Seconds that a process may take to load the release, and for a picture.
LOADING, SECONDS = 120.0, 60.0
#: Pictures that a process has at a time; and how many rows for each process are held while an earlier one takes long.
OUT, WINDOW = 32, 128
#: Seconds after which a process hands in answers: each by itself would take a tenth of the time of a small picture.
TOGETHER = 0.05
#: Not imported: it takes long, and the process that asks has no need of it.
WORKER = "greenr_luigi.prediction.worker"


@dataclass(eq=False)
class Worker:
    """`is_careful`: it hands in each answer by itself. `sent`: what it has still to answer, by number, of which the
    last `unsent` are to go out; `since`: when it last handed something in or began, by time.monotonic()."""

    process: subprocess.Popen[bytes]
    connection: Connection
    is_careful: bool
    unsent: int = 0
    sent: deque[tuple[int, Input]] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)
    is_ready: bool = False

    @property
    def latest(self) -> float:
        return self.since + (SECONDS if self.is_ready else LOADING)


class Workers:
    """At most `count` processes that answer with the release `digest`, as far as there are pictures for them. They end
    with the block, and with this process."""

    def __init__(self, settings: Settings, digest: str, count: int) -> None:
        self.settings, self.digest, self.count = settings, digest, count
        self.workers: list[Worker] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for each in [*self.workers]:
            self._end(each)

    def answers(self, asked: Iterable[tuple[Input, Found | None]]) -> Iterator[Found]:
        """What is found of each input, in that order; it may be known already. A picture that two processes die of, or
        that takes more than SECONDS, is refused. Raises GreenrError if the release cannot be loaded."""
        coming = enumerate(asked)
        done, first, following = dict[int, Found](), 0, next(coming, None)
        while following is not None or done or any(each.sent for each in self.workers):
            while following is not None and following[0] < first + WINDOW * self.count:
                number, (given, known) = following
                if known is not None:
                    done[number] = known
                elif free := self._free():
                    free.sent.append((number, given))
                    free.unsent += 1
                else:
                    break
                following = next(coming, None)
            self._send()
            if first not in done:
                done |= self._received()
            while first in done:
                yield done.pop(first)
                first += 1

    def _free(self) -> Worker | None:
        """The one that has least to do, which may be a new one; None if all have enough."""
        least = min(self.workers, key=lambda each: len(each.sent), default=None)
        if least is None or (least.sent and len(self.workers) < self.count):
            return self._start()
        return least if len(least.sent) < OUT else None

    def _start(self, is_careful: bool = False) -> Worker:
        ours, theirs = socket.socketpair()
        chosen = self.settings
        asked = [os.getpid(), theirs.fileno(), chosen.store, self.digest, int(chosen.int8)]
        asked += [",".join(map(str, chosen.fetch_allow)), 0 if is_careful else TOGETHER]
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, *map(str, asked)],
                env={
                    **lifetime.environment(),
                    # What a library would start besides, as OpenBLAS, only takes memory.
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for this process to follow.
                process_group=0,
            )
        self.workers.append(Worker(process, Connection(ours.detach()), is_careful))
        return self.workers[-1]

    def _end(self, each: Worker) -> None:
        self.workers.remove(each)
        each.connection.close()
        each.process.kill()
        each.process.wait()

    def _send(self) -> None:
        for each in self.workers:
            if each.unsent:
                if each.is_ready and each.unsent == len(each.sent):
                    each.since = time.monotonic()
                # Where it has died, that is found out when its answer is waited for.
                with contextlib.suppress(ConnectionError):
                    each.connection.send([given for _, given in each.sent][-each.unsent :])
                each.unsent = 0

    def _received(self) -> dict[int, Found]:
        """Waits until something has come, or somebody is too late."""
        busy = [each for each in self.workers if each.sent]
        latest = min(each.latest for each in busy)
        ready = connection.wait([each.connection for each in busy], max(0.0, latest - time.monotonic()))
        found, now = dict[int, Found](), time.monotonic()
        for each in busy:
            if each.connection in ready:
                try:
                    said = each.connection.recv()
                except (EOFError, ConnectionError):
                    found |= self._lost(each, "crashed", "it ended the process that read it, twice")
                else:
                    found |= self._said(each, said)
                    each.since = now
            elif now >= each.latest:
                found |= self._lost(each, "too-slow", f"it took more than {SECONDS:g} seconds, twice")
        return found

    def _said(self, each: Worker, said: str | list[Found]) -> dict[int, Found]:
        if isinstance(said, list):
            return {each.sent.popleft()[0]: answer for answer in said}
        if said:
            raise GreenrError(f"release {self.digest} cannot answer: {said}")
        each.is_ready = True
        return {}

    def _lost(self, each: Worker, reason: str, message: str) -> dict[int, Found]:
        """Another process goes on with what one that died, or hangs, had still to answer: one that hands each answer in
        by itself, so that it is known of what it dies. Once may be chance, as where memory was short."""
        if not each.is_ready:
            raise GreenrError(
                f"release {self.digest} did not load: a process for it ended, or took more than {LOADING:g} seconds; "
                "is there too little memory?"
            )
        self._end(each)
        found = dict[int, Found]()
        if each.is_careful:
            number, given = each.sent.popleft()
            found[number] = Found(refused(given.path, reason, f"{message}: save it anew", self.digest))
        if each.sent:
            another = self._start(is_careful=True)
            another.sent, another.unsent = each.sent, len(each.sent)
            self._send()
        return found
