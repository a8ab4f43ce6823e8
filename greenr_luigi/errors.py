"""The one root of what can go wrong and a person can mend."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from greenr_luigi.staleness import errors, regular
from greenr_luigi.staleness.holders import belongs


class GreenrError(Exception):
    """Something that a person can mend. The message names the value, what was expected, and the remedy.

    A command shows the message alone. Whatever else is raised is a fault of the program, and ends in a traceback.
    """

    #: Whether the same may do later, and nothing need be mended, as after a fault of the network.
    passing = False


class SettingError(GreenrError):
    """A parameter, option or line of luigi.cfg that is not valid."""


#: What to do where the operating system refuses a file, by errno.
REMEDIES = {
    **errors.REMEDIES,
    errno.EACCES: "no permission: mend its permissions, or choose another --root",
    errno.ENOTDIR: "a file is in the way of a folder: move it, or choose another --root",
    **{
        number: f"{errors.REMEDIES[number]} (`greenr prune` removes outputs of earlier parameters)"
        for number in (errno.ENOSPC, errno.EDQUOT)
    },
}


@contextlib.contextmanager
def os_refusals_explained(root: Path | None = None) -> Iterator[None]:
    """Raises GreenrError where the operating system refuses a file, with the remedy where there is one. Not for a file
    that is missing elsewhere than under `root`, where anyone may delete what a run has made: those that a person names
    are checked where they are named, so that is a fault of the program."""
    try:
        yield
    except OSError as error:
        # Where a write fails, the system names no file.
        if error.filename is None and error.errno not in errors.FULL:
            raise
        path = Path(os.fsdecode(error.filename or ""))
        if isinstance(error, regular.NotAFileError):
            raise GreenrError(f"{path}: {error.strerror}: move it away") from error
        if error.errno == errno.ENOENT:
            if root is not None and root.is_relative_to(path):
                # With all above it made, such as in /proc.
                raise GreenrError(f"{path}: {errors.REMEDIES[errno.ENOENT]}") from error
            if root is None or not path.is_relative_to(root):
                raise
            raise GreenrError(f"{path} is missing: `greenr run` makes it again") from error
        remedy = REMEDIES.get(error.errno or 0, f"{error.strerror}: look at it and try again")
        whose = belongs(path) if error.errno == errno.EACCES else ""
        named = f"{path}{whose}: " if error.filename else ""
        raise GreenrError(f"{named}{remedy}") from error
