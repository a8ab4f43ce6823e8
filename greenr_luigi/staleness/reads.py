"""What a stage says that it reads from outside of the graph, checked before anything is made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import errors
from .listing import Part, Said
from .traces import Read


def checked(title: str, reads: object, more: Mapping[str, Path]) -> dict[str, Read]:
    """What the stage of that title reads by the name to call it, with `more`: each path in full, since `work` may
    change the working directory.

    Raises StalenessError for `reads` that are no such mapping, and for what is there and is no file or folder."""
    if not isinstance(reads, Mapping) or not all(
        isinstance(read, str | os.PathLike | Part | Said) for read in reads.values()
    ):
        raise errors.StalenessError(
            f"{title}: its `reads` gives {reads!r}: expected a path by each name to call it, as in "
            "{'stop words': Path('stop.txt')}"
        )
    paths = {str(name): _in_full(read) for name, read in {**reads, **more}.items()}
    for read in paths.values():
        if isinstance(read, Said):
            continue
        path = read.folder if isinstance(read, Part) else read
        # To take it for missing would be to go on without what somebody has said there.
        if os.path.lexists(path) and not (path.is_file() or path.is_dir()):
            raise errors.StalenessError(
                f"{title} cannot use {path}: it is no file or folder, nor a link to one: mend that, or move it away"
            )
    return paths


def _in_full(read: Read) -> Read:
    if isinstance(read, Part):
        return replace(read, folder=read.folder.absolute())
    return read if isinstance(read, Said) else Path(read).absolute()
