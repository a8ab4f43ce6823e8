"""Processes that examine pictures beside the one that has them, whose interpreter is left to fetch and to write: one a
core. They are of a block, and end with it and with this process.

A few pictures are examined sooner than a process has started. What comes back is JSON and never unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Self

from greenr_luigi import cores, lifetime
from greenr_luigi.pictures import kinds
from greenr_luigi.pictures.terms import Terms
from greenr_luigi.pictures.unusable import UnusablePicture, broken

#: Pictures of a block after which processes are started.
AFTER = 256
#: By so much their priority is less (nice): what is fetched is begun first, as a host may take long.
NICE = 5
#: Seconds that one may take to start, and bytes of what it says.
LOADING, MOST_SAID = 60.0, 2**16
#: What comes before a picture: its Terms.
ASKED = struct.Struct(">Q?")
#: By which a process ends that a picture does harm to. By others somebody ends it, as where memory is short.
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGSYS}
MODULE = "greenr_luigi.pictures.examiners"


class Examiner:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as stack:
            stack.callback(ours.close)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, str(os.getpid()), str(theirs.fileno())],
                env={**lifetime.environment(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for this process to follow.
                process_group=0,
            )
            stack.pop_all()
        self.connection = Connection(ours.detach())

    def is_of(self, digest: str) -> bool:
        """Whether it has started, and what it examines by is that: another version may lie on the disk by now."""
        with contextlib.suppress(OSError, EOFError):
            return self.connection.poll(LOADING) and self.connection.recv_bytes(MOST_SAID) == digest.encode()
        return False

    def ask(self, data: bytes, terms: Terms) -> bytes | None:
        """None if the process has ended."""
        try:
            self.connection.send_bytes(ASKED.pack(*terms))
            self.connection.send_bytes(data)
            return self.connection.recv_bytes(MOST_SAID)
        except (OSError, EOFError):
            self.end()
            return None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Examiners:
    """Those of a block. Several threads may ask. `digest`: of the code and libraries that examine here."""

    def __init__(self, digest: str) -> None:
        self._digest, self._asked, many = digest, 0, cores.allowed()
        #: On one core there is nothing to gain.
        self._works, self._room = many > 1, threading.BoundedSemaphore(many)
        self._idle = list[Examiner]()
        # A process ends with the thread that has started it (prctl(2)): one that does nothing else.
        self._starter = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()
        self._starter.shutdown()

    def ask(self, data: bytes, terms: Terms) -> bytes | None:
        """What `examine.found` says of a picture; None where that is to be asked here. Raises UnusablePicture, also for
        one of which two processes crash."""
        self._asked += 1
        # HEIC has processes of its own, with a time limit.
        if not self._works or self._asked <= AFTER or kinds.format_of(data) in kinds.APART:
            return None
        with self._room:
            for _ in range(2):
                if (one := self._free()) is None:
                    return None
                if (said := one.ask(data, terms)) is not None:
                    self._idle.append(one)
                    return _unless_refused(said)
                if -one.process.returncode not in CRASHES:
                    return None
        raise broken("it ends the process that reads it")

    def _free(self) -> Examiner | None:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        with contextlib.suppress(OSError):
            one = self._starter.submit(Examiner).result()
            if one.is_of(self._digest):
                return one
            one.end()
        self._works = False
        return None


def _unless_refused(said: bytes) -> bytes:
    if said.startswith(b"{"):
        raise UnusablePicture(**json.loads(said))
    return said


def main(parent: str, channel: str) -> None:
    """What the process does: it says by what it examines; then a picture comes, and what it is goes."""
    if not lifetime.end_with(int(parent), signal.SIGKILL):
        return
    os.nice(NICE)
    from greenr_luigi.pictures import examine

    with Connection(int(channel)) as connection:
        connection.send_bytes(examine.digest().encode())
        while True:
            terms = Terms(*ASKED.unpack(connection.recv_bytes()))
            try:
                said = examine.found(connection.recv_bytes(), terms)
            except UnusablePicture as error:
                said = json.dumps({"reason": error.reason, "message": str(error)}).encode()
            connection.send_bytes(said)


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):  # Whoever asked has gone.
        main(*sys.argv[1:])
