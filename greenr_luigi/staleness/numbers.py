"""The numbers of outputs, by which it is told which is newer, as clocks are set back."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from . import regular
from .listing import STAMP
from .output_folder import NAME

#: What the folder of an output is called, as no other will ever be; and the output itself.
MADE, NAMED = re.compile(rf"\.{NAME}\.[0-9a-f]{{8}}", re.DOTALL), re.compile(NAME, re.DOTALL)
#: By folder of a stage, the numbers of the outputs in it, by the name of their folders.
_known: dict[str, dict[str, int]] = {}


def following(root: Path) -> int:
    """The number of an output that is done now: one more than any under the root has. Each stamp is read once a
    process, since there may be thousands."""
    with os.scandir(root) as entries:
        folders = [entry.path for entry in entries if entry.is_dir()]
    return max((number for folder in folders for number in _numbers(folder)), default=0) + 1


def _numbers(folder: str) -> Iterable[int]:
    """Of the outputs of a stage. None of a folder that is another user's."""
    known, found, links = _known.get(folder, {}), dict[str, int](), list[str]()
    with contextlib.suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name in known:
                found[name] = known[name]
            elif not name.startswith("."):
                links.append(name)
            elif MADE.fullmatch(name) and (number := _number(f"{folder}/{name}")) is not None:
                found[name] = number
    _known[folder] = found
    # A link leads to one of them, unless somebody has moved that, or a copy of the root has followed links.
    made = {name[1:].rpartition(".")[0] for name in found}
    others = (_number(f"{folder}/{name}") for name in links if name not in made and NAMED.fullmatch(name))
    return [*found.values(), *filter(None, others)]


def _number(output: str) -> int | None:
    """Reads only where the number stands in a stamp, which is first. None where there is no stamp."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        with regular.opened(Path(output, STAMP)) as file:
            match = re.match(rb'{"number": (\d+)', file.read(40))
        return int(match[1]) if match else 0
    return None
