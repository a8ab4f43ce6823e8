"""The listening socket of a server, and who has its address if it cannot be had."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import socket
from pathlib import Path
from typing import Any

from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness.holders import command

#: Connections that may wait to be taken.
BACKLOG = 2048
#: The state of a listening socket in /proc/net/tcp.
LISTENS = "0A"


class ServerError(GreenrError):
    """A server that does not start, or does not serve what it should."""


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; `port` 0 takes a free one. The server that replaces ours can have the same address beside it
    (SO_REUSEPORT). `shared`: this is that server. Its socket does not listen yet, so that visitors go to ours until it
    does.

    Raises ServerError when the address cannot be had.
    """
    if not 0 <= port <= 65535:
        # getaddrinfo would take the rest of a division by 65536.
        raise ServerError(f"--port {port}: expected a whole number from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServerError(f"host {host!r}: no address of this machine ({error}); try 127.0.0.1") from None
    try:
        if not shared:
            # Another server of ours, of another data root, shall not share the address unawares.
            with _bound(family, address) as alone:
                address = alone.getsockname()
        ours = _bound(family, address, socket.SO_REUSEPORT)
        if not shared:
            ours.listen(BACKLOG)
        return ours
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = f"{listener(port)} listens there" if taken else error.strerror
        raise ServerError(
            f"cannot listen on {host}:{port}: {why}; stop it or choose another --port"
        ) from None


def on_this_machine(host: str) -> str:
    """An address by which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def url(host: str, port: int) -> str:
    """Where this machine reaches a server that listens there; without a slash behind it."""
    address = on_this_machine(host)
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def _bound(family: int, address: tuple[Any, ...], *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def listener(port: int) -> str:
    """Which process listens on a port, in words."""
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == LISTENS and int(row[1].rpartition(":")[2], 16) == port
    }
    for descriptor in glob.iglob("/proc/[0-9]*/fd/*"):  # noqa: PTH207  Path.glob fails at a process that ends
        with contextlib.suppress(OSError):  # Closed meanwhile, or another user's.
            if os.readlink(descriptor) in sockets:  # noqa: PTH115  a Path for each takes long
                process = Path(descriptor).parents[1]
                return f"process {process.name} ({command(int(process.name))})"
    return "another program"
