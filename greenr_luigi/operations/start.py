"""Starts what is there, without a run: as after a reboot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.outputs import find_outputs, of_role
from greenr_luigi.operations.stages import deploying_stage

if TYPE_CHECKING:
    from greenr_luigi.serving.server import Server


def start(root: Path, module: str = "tasks") -> Server:
    """Serve the last good release under a root as the newest deployment served it; as luigi.cfg says before the first.

    Raises GreenrError if there is no such release, or it does not come to serve.
    """
    from greenr_luigi.deployment.deploy import serve

    stage = deploying_stage(module)
    family = stage.get_task_family()
    deployments = of_role(find_outputs(root, module), "deployment")
    recorded = next((d.stamp.parameters for d in deployments if d.folder.parent.name == family), {})
    task = stage.from_str_params({**recorded, "root": str(root)})
    if (service := getattr(task, "service", None)) is None:
        raise GreenrError(f"{family} has no server on this machine that could be started")
    return serve(service, lambda _, words: print(words))
