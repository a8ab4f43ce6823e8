"""The dashboard that runs for a data root: found by the lock that it holds, not by a pid file."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.serving import sockets
from greenr_luigi.staleness import file_system

FOLDER, LOCK, RECORD, LOG = "dashboard", "lock", "dashboard.json", "dashboard.log"
#: Seconds for it to answer; one that is too busy for that is done without.
ANSWER = 2.0


@dataclass(frozen=True)
class Running:
    """`host`: the machine that it runs on; `address`, `port`: that it listens on."""

    host: str
    port: int
    pid: int
    address: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """By which this machine reaches it."""
        return sockets.url(self.address, self.port)


def running(root: Path) -> Running | None:
    """The living dashboard of a root on this machine; None if there is none, or it is another user's."""
    folder = root / FOLDER
    try:
        if not file_system.is_held(folder / LOCK):
            return None
        found = contracts.read(folder / RECORD, Running)
    except (OSError, contracts.ContractError):
        return None
    return found if found.host == socket.gethostname() else None


def answering(root: Path) -> Running | None:
    """As `running`, if it answers."""
    if (found := running(root)) is None:
        return None
    asking = http.client.HTTPConnection(sockets.on_this_machine(found.address), found.port, timeout=ANSWER)
    with contextlib.closing(asking):
        try:
            asking.request("HEAD", "/")
            return found if asking.getresponse().status < 400 else None
        except (OSError, http.client.HTTPException):
            return None


def note(root: Path, address: str, port: int) -> None:
    """Leave the record of this process, which holds the lock."""
    contracts.write(root / FOLDER / RECORD, Running(socket.gethostname(), port, os.getpid(), address))
