"""Who holds what: processes and users, in words."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from pathlib import Path

#: Characters of a command line in a message.
COMMAND = 300


def process(pid: int) -> str:
    """A process in words: its number, machine, command and user."""
    if pid == os.getpid():
        return "another thread of this process"
    try:
        user = user_name(Path(f"/proc/{pid}").stat().st_uid)
        return f"process {pid} on {socket.gethostname()} ({command(pid)}, of user {user})"
    except OSError:
        return f"a child of process {pid}, which has ended"


def command(pid: int) -> str:
    """The command line of a process, shortened, without what changes a terminal. Raises OSError if it has ended."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    shown = "".join(letter if letter.isprintable() else "?" for letter in words[: COMMAND + 1])
    return f"{shown[:COMMAND]}…" if len(shown) > COMMAND else shown


def belongs(path: Path) -> str:
    """Whose a file is that has just been named, or the nearest folder above it that can be seen, in brackets; empty
    if it is our own."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            owner = place.stat().st_uid
            named = "it" if place == path else place
            return "" if owner == os.geteuid() else f" ({named} belongs to user {user_name(owner)})"
    return ""


def user_name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
