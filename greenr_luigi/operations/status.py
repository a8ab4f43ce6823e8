"""Which stages are complete, why the others are stale, and a person's word that one may count as complete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from greenr_luigi import settings
from greenr_luigi.errors import SettingError
from greenr_luigi.operations.stages import deploying_stage, load_stages
from greenr_luigi.staleness.requirements import run_order
from greenr_luigi.staleness.stage import Stage, one_question
from greenr_luigi.staleness.stamp import Stamp


class StageStatus(TypedDict):
    """`state`: "complete" or "stale"; `cause`: why it is stale; `place`: its output folder; `accepted`: what has
    changed since it ran, and a person has accepted without a rerun; `warning`: what it went on without when it ran."""

    stage: str
    state: str
    cause: str | None
    place: str
    accepted: list[str]
    warning: str | None


def status(name: str | None, options: Sequence[str], root: Path, module: str = "tasks") -> list[StageStatus]:
    """The status of the stage `name` and of all before it, in the order in which they would run. Runs nothing and reads
    no picture. `name`: None for the stage with which the pipeline is run; `options`: parameters, as for luigi."""
    name = name or deploying_stage(module).get_task_family()
    order = run_order(build(name, options, root, module))
    # Each stage asks those before it, too.
    with one_question():
        return [_status_of(task) for task in order]


def _status_of(task: Stage) -> StageStatus:
    cause, stamp = task.stale_because(), Stamp.if_any(task.output_folder)
    accepted = stamp.accepted if stamp else []
    state = "complete" if cause is None else "stale"
    place = str(task.output_folder)
    warning = stamp.summary.get("warning") if stamp else None
    return {
        "stage": task.title,
        "state": state,
        "cause": cause,
        "place": place,
        "accepted": accepted,
        "warning": warning,
    }


def accept(
    name: str, options: Sequence[str], root: Path, module: str = "tasks"
) -> list[tuple[StageStatus, list[str]]]:
    """Let the outputs of a stage count as made from what there is now (`Stage.accept`). `name`: of the stage, such as
    TrainModel, or the title of one of several, such as "DownloadImages(grass)"; `options`: as for `status`. Returns
    what status says of each then, and what was accepted."""
    graph = run_order(build(deploying_stage(module).get_task_family(), options, root, module))
    named = [task for task in graph if name in (task.task_family, task.title)]
    accepted = [(task, task.accept()) for task in named or [build(name, options, root, module)]]
    return [(_status_of(task), differences) for task, differences in accepted]


def build(name: str, options: Sequence[str], root: Path, module: str = "tasks") -> Stage:
    """The stage that `luigi --module MODULE NAME OPTIONS` would run."""
    argv = ["--module", module, name, "--root", str(root), *options]
    task = settings.build_task(load_stages(module), argv)
    if not isinstance(task, Stage):
        raise SettingError(f"{name} is no stage of {module}")
    return task
