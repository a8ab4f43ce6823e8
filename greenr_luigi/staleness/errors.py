"""What can go wrong with a stage and a person can mend."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path


class StalenessError(Exception):
    """A stage cannot do its work; the message says what stands in the way and what to do."""


class StampError(StalenessError):
    """A stamp that is there, but is torn or no stamp."""


#: Said of a root that is no folder.
NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST)

#: What to do about a failure to write, by errno.
REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another --root",
    errno.EACCES: "no permission to write there: choose another --root or mend its permissions",
    **dict.fromkeys(NO_FOLDER, "no folder can be made there: choose another --root or make it a folder"),
}


def explain(error: OSError, output: Path, root: Path, remedies: Mapping[int, str]) -> str | None:
    """What failed while the output of a stage was made under `root`, and the remedy; None if it is not known."""
    path = Path(error.filename or output)
    if error.errno == errno.EACCES and not path.is_relative_to(root):
        return f"cannot read {path}: no permission; mend its permissions, or leave it out"
    if error.errno in NO_FOLDER and output.parent.is_dir():
        return None  # The root is a folder: `work` misses a file of its own.
    remedy = remedies.get(error.errno or 0)
    return remedy and f"cannot write {path}: {remedy}"
