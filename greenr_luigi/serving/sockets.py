"""The listening socket of a server, and why an address cannot be had."""

from __future__ import annotations

import errno
import socket

from greenr_luigi.errors import GreenrError


class ServerError(GreenrError):
    """A server that does not start, or does not serve what it should."""


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; `port` 0 takes a free one. The server that replaces ours can listen on the same address
    beside it (SO_REUSEPORT). `shared`: this is that server, and ours still has the address.

    Raises ServerError when the address cannot be had.
    """
    if not 0 <= port <= 65535:
        # getaddrinfo would take the rest of a division by 65536.
        raise ServerError(f"--port {port}: expected a whole number from 0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServerError(f"host {host!r}: no address of this machine ({error}); try 127.0.0.1") from None
    both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    try:
        if not shared:
            # Without SO_REUSEPORT: another server of ours, of another data root, shall not share it unawares.
            with socket.create_server(address, family=family, dualstack_ipv6=both) as alone:
                address = alone.getsockname()
        return socket.create_server(
            address, family=family, backlog=2048, reuse_port=True, dualstack_ipv6=both
        )
    except OSError as error:
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise ServerError(
            f"cannot listen on {host}:{port}: {why}; stop it or choose another --port"
        ) from None
