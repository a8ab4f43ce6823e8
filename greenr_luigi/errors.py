"""The one root of what can go wrong and a person can mend."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi.staleness.errors import FULL
from greenr_luigi.staleness.holders import belongs


class GreenrError(Exception):
    """Something that a person can mend. The message names the value, what was expected, and the remedy.

    A command shows the message alone. Whatever else is raised is a fault of the program, and ends in a traceback.
    """

    #: Whether the same may do later, and nothing need be mended, as after a fault of the network.
    passing = False


class SettingError(GreenrError):
    """A parameter, option or line of luigi.cfg that is not valid."""


#: What to do when the operating system refuses a file, by errno.
REMEDIES = {
    errno.EACCES: "no permission: mend its permissions, or choose another --root",
    errno.EFBIG: "no file may grow so large: raise `ulimit -f`, or choose another --root",
    errno.ENAMETOOLONG: "its name is too long: give a shorter one",
    errno.ENOSPC: "the disk is full: free some space (`greenr prune` removes outputs of earlier parameters)",
    errno.EDQUOT: "the disk quota is used up: free some space (`greenr prune` removes outputs of earlier parameters)",
    errno.ENOTDIR: "a file is in the way of a folder: move it, or choose another --root",
    errno.ENOLCK: "the file system has no locks (NFS without its lock service?): mend that, or choose another --root",
    errno.EROFS: "the file system is read-only: choose another --root",
}


@contextlib.contextmanager
def os_refusals_explained() -> Iterator[None]:
    """Raises GreenrError where the operating system refuses a file, with the remedy where there is one. Not for a file
    that is missing: those that a person names are checked where they are named, so that is a fault of the program."""
    try:
        yield
    except OSError as error:
        # Where a write fails, the system names no file.
        is_unnamed = error.filename is None and error.errno not in FULL
        if is_unnamed or error.errno == errno.ENOENT:
            raise
        remedy = REMEDIES.get(error.errno or 0, f"{error.strerror}: look at it and try again")
        whose = belongs(Path(error.filename)) if error.errno == errno.EACCES else ""
        named = f"{error.filename}{whose}: " if error.filename else ""
        raise GreenrError(f"{named}{remedy}") from error
