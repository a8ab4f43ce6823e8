"""Starts what is there, without a run: as after a reboot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.stages import deploying_stage

if TYPE_CHECKING:
    from greenr_luigi.serving.server import Server


def start(root: Path, module: str = "tasks") -> Server:
    """Serve the last good release under a root as the newest deployment served it; as luigi.cfg says before the first.

    Raises GreenrError if there is no such release, or it does not come to serve.
    """
    from greenr_luigi.deployment.deploy import serve

    stage = deploying_stage(module)
    last_service = getattr(stage, "last_service", None)
    if last_service is None:
        raise GreenrError(f"{stage.get_task_family()} has no server on this machine that could be started")
    return serve(last_service(root), print)
