"""Why a stage is stale: the first difference between what its output was made from and what there is now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import code, libraries, requirements, soundness, traces
from .errors import StampError
from .output_folder import EARLIER, KEY
from .stamp import InputTrace, Stamp, stamps

if TYPE_CHECKING:
    from .stage import Stage


def examine(stage: Stage, was_asked_for: bool) -> str | None:
    """The first cause to run, in words; None if there is none. Raises StalenessError where it cannot be known."""
    soundness.check(stage)
    try:
        stamp = stage.stamp()
    except (FileNotFoundError, NotADirectoryError):
        return why_no_output(stage)
    except StampError as error:
        return str(error)
    if was_asked_for:
        return f"asked for: --force {stage.task_family}"
    return changed_since(stage, stamp, stage.output_folder)


def changed_since(stage: Stage, stamp: Stamp, output: Path) -> str | None:
    """The first difference between what an output was made from and what it would be made from now, or between its
    stamp and its files. What was accepted need not stay: it was made from what it was made from before, too."""
    if stamp.as_made and changed_since(stage, stamp.before_accepted(), output) is None:
        return None
    # Which libraries the code imports, only an edit of the code can change.
    versions = libraries.versions({*stamp.libraries, *stage.libraries})
    return (
        stamp.changed_meanwhile
        or _parameters_changed(stage, stamp.parameters)
        or traces.entries_changed("version of", stamp.libraries, versions)
        or code.changed(stamp.code, stage.code, stage.own_classes())
        or _inputs_changed(stage, stamp.inputs)
        or reads_changed(stage, stamp.reads)
        or traces.files_changed("output", stamp.files, output)
        or stage.outside_cause(stamp)
    )


def reads_changed(stage: Stage, recorded: Mapping[str, traces.Snapshot]) -> str | None:
    """The first difference in what a stage reads from outside of the graph."""
    now = stage.all_reads()
    if gone := [name for name in recorded if name not in now]:
        return f"{gone[0]} is no longer read"
    return next(
        filter(None, (traces.files_changed(name, recorded.get(name), now[name]) for name in now)), None
    )


def _parameters_changed(stage: Stage, recorded: Mapping[str, str]) -> str | None:
    """The first difference in those that count by themselves."""
    now: Mapping[str, str] = stage.parameters
    if recorded != now and stage.uses_inherited is not None:
        inherited = {name for task in stage.inputs().values() for name in task.parameters}
        passed_over = inherited.difference(stage.uses_inherited)
        recorded, now = (
            {name: value for name, value in table.items() if name not in passed_over}
            for table in (recorded, now)
        )
    return traces.entries_changed("parameter", recorded, now)


def outputs_like(stage: Stage) -> dict[Path, Stamp]:
    """The finished outputs of a stage, by whatever parameters, with their stamps, the newest first."""
    # Where there is a stage a class, its name stands before the digest of the parameters.
    word = re.sub(f"{KEY}$", "", stage.output_folder.name)
    found = stamps(stage.output_folder.parent, lambda name: name.removeprefix(EARLIER).startswith(word))
    return {folder: stamp for folder, stamp in found.items() if stamp.title == str(stage.title)}


def why_no_output(stage: Stage) -> str:
    """If the stage has run with other parameters, the first that is new to the nearest of these."""
    others = [stamp.parameters for stamp in outputs_like(stage).values()]
    nearest = min(others, key=lambda other: len(other.items() ^ stage.parameters.items()), default=None)
    return (nearest and traces.entries_changed("parameter", nearest, stage.parameters)) or "no output yet"


def _inputs_changed(stage: Stage, recorded: Mapping[str, InputTrace]) -> str | None:
    inputs = stage.inputs()
    if gone := [name for name in recorded if name not in inputs]:
        return f"input {gone[0]} is no longer required"
    for name, task in inputs.items():
        if cause := task.stale_because():
            return f"input {name} is stale: {cause}"
        if name not in recorded:
            return f"input {name} is new"
        now = requirements.as_input(stage, task, task.stamp())
        if now["digest"] != recorded[name]["digest"]:
            before, after = (
                {key: value for key, value in made["summary"].items() if key not in task.unsaid}
                for made in (recorded[name], now)
            )
            change = traces.entries_changed("", before, after)
            return f"input {name} changed: {change or 'other content, same counts'}"
    stages = {*inputs.values()}
    plain = [task for task in requirements.required(stage) if task not in stages]
    return next((f"input {task} is not complete" for task in plain if not task.complete()), None)
