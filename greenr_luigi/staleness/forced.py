"""The stages that were asked for by name (`--force`), and have not run since."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .output_folder import folder_of

if TYPE_CHECKING:
    from .stage import Stage

#: By output folder: what it held when that was asked.
_held: dict[Path, Path | None] = {}


def note(stages: Iterable[Stage]) -> None:
    """Those of them that are asked for. Not when each is examined: that may be in processes that know nothing of each
    other."""
    for stage in stages:
        if stage.task_family in stage.force:
            _held[stage.output_folder] = folder_of(stage.output_folder)


def must_run(stage: Stage) -> bool:
    held = folder_of(stage.output_folder)
    return stage.task_family in stage.force and _held.setdefault(stage.output_folder, held) == held
