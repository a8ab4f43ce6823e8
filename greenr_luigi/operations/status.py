"""Which stages are complete, and why the others are stale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from greenr_luigi import settings
from greenr_luigi.errors import SettingError
from greenr_luigi.operations.stages import deploying_stage, load_stages
from greenr_luigi.staleness.stage import Stage


class StageStatus(TypedDict):
    """`state`: "complete" or "stale"; `cause`: why it is stale; `place`: its output folder."""

    stage: str
    state: str
    cause: str | None
    place: str


def status(name: str | None, options: Sequence[str], root: Path, module: str = "tasks") -> list[StageStatus]:
    """The status of the stage `name` and of all before it, in the order in which they would run. Runs nothing and reads
    no picture. `name`: None for the stage with which the pipeline is run; `options`: parameters, as for luigi."""
    name = name or deploying_stage(module).get_task_family()
    return [
        {
            "stage": task.title,
            "state": "complete" if cause is None else "stale",
            "cause": cause,
            "place": str(task.output_folder),
        }
        for task in run_order(build(name, options, root, module))
        for cause in [task.stale_because()]
    ]


def build(name: str, options: Sequence[str], root: Path, module: str = "tasks") -> Stage:
    """The stage that `luigi --module MODULE NAME OPTIONS` would run."""
    argv = ["--module", module, name, "--root", str(root), *options]
    task = settings.build_task(load_stages(module), argv)
    if not isinstance(task, Stage):
        raise SettingError(f"{name} is no stage of {module}")
    return task


def run_order(task: Stage) -> list[Stage]:
    """A stage and all before it, each once, none before its inputs."""
    stages = [stage for required in task.inputs().values() for stage in run_order(required)]
    return list({stage.task_id: stage for stage in [*stages, task]}.values())
