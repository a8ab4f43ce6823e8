"""What a stage requires: other stages, and plain Luigi tasks, which know nothing of staleness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import luigi
from luigi.task import flatten

from . import traces
from .memo import once
from .stamp import InputTrace, Stamp

if TYPE_CHECKING:
    from .stage import Stage


@once
def required(task: luigi.Task) -> Sequence[luigi.Task]:
    """The tasks that a task requires. In place of a WrapperTask, which makes nothing, those that this one requires."""
    tasks = flatten(task.requires())
    return [
        one for each in tasks for one in (required(each) if isinstance(each, luigi.WrapperTask) else [each])
    ]


def run_order(stage: Stage) -> list[Stage]:
    """A stage and all before it, each once, none before its inputs."""
    order: dict[str, Stage] = {}

    def add(each: Stage) -> None:
        if each.task_id not in order:
            for before in each.inputs().values():
                add(before)
            order[each.task_id] = each

    add(stage)
    return [*order.values()]


def as_input(stage: Stage, required: Stage, made: Stamp) -> InputTrace:
    """What a stage depends on of the output of one that it requires: all of it, but for notes that it does not read."""
    unread = () if stage.uses_notes is None else {*required.notes}.difference(stage.uses_notes)
    return made.as_input(unread)


def known_files(stage: Stage) -> traces.Known:
    """What need not be read again for a stamp, be it gigabytes: what an output was made from and holds, and what it
    will be made from. Any of it may come to stand in the new output, as hard links. Nothing of a stage that was asked
    for by name: there, no size and no time is trusted."""
    if stage.task_family in stage.force:
        return {}
    found = {**known_reads(stage)}
    if before := Stamp.if_any(stage.output_folder):
        found |= traces.known(stage.output_folder, before.files)
    for required in stage.inputs().values():
        if made := Stamp.if_any(required.output_folder):
            found |= traces.known(required.output_folder, made.files)
    return found


def known_reads(stage: Stage) -> traces.Known:
    """Those of them that come from outside of the graph."""
    found = dict[tuple[int, int], traces.FileTrace]()
    before = None if stage.task_family in stage.force else Stamp.if_any(stage.output_folder)
    if before:
        for name, path in stage.all_reads().items():
            found |= traces.known(path, before.reads.get(name, {}))
    return found


def local_files(plain: Iterable[luigi.Task]) -> dict[str, Path]:
    """The outputs of plain tasks that are local files or folders, by a name for each. Of others, such as a table in a
    database, no more can be known than that Luigi takes them for complete."""
    return {
        f"output {number} of {task}": Path(target.path)
        for task in plain
        for number, target in enumerate(flatten(task.output()), 1)
        if isinstance(target, luigi.LocalTarget)
    }
