"""The listening socket of a server, and why an address cannot be had."""

from __future__ import annotations

import errno
import socket

from greenr_luigi.errors import GreenrError


class ServerError(GreenrError):
    """A server that does not start, or does not serve what it should."""


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; `port` 0 takes a free one. It shares its address (SO_REUSEPORT) with the one that will
    replace it. `shared`: it is that one, and our own server still has the address.

    Raises ServerError when the address cannot be had.
    """
    if not 0 <= port <= 65535:
        # getaddrinfo would take the rest of a division by 65536.
        raise ServerError(f"--port {port}: expected a whole number from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerError(f"host {host!r}: no address of this machine ({error}); try 127.0.0.1") from None
    try:
        if not shared:
            # Without SO_REUSEPORT: another server of ours, of another data root, shall not share it unawares.
            with socket.socket(family, kind, protocol) as alone:
                alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                alone.bind(address)
                address = alone.getsockname()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        listening.close()
        why = "another program listens there" if error.errno == errno.EADDRINUSE else str(error)
        raise ServerError(
            f"cannot listen on {host}:{port}: {why}; stop it or choose another --port"
        ) from None
    return listening
