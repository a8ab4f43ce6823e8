"""The base class of this pipeline's stages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from greenr_luigi.errors import GreenrError
from greenr_luigi.staleness import stage


class StageError(GreenrError):
    """A stage cannot do its work; the message says what stands in the way and what to do."""


class PipelineStage(stage.Stage):
    """A stage that is asked for by what its output is, not by its name, so that a stage may come between two others."""

    error = StageError

    #: What the output is: "pictures", "dataset", "model", "evaluation", "export" or "deployment"; empty for anything
    #: else. Of two stages in a row, such as a split and its augmentation, both may be a "dataset".
    role: ClassVar[str] = ""

    def input_folder(self, role: str) -> Path:
        """The output folder of the one stage of that role that this one requires. Raises LookupError if there is none,
        or more than one."""
        folders = [
            task.output_folder
            for task in self.inputs().values()
            if isinstance(task, PipelineStage) and task.role == role
        ]
        if len(folders) != 1:
            raise LookupError(
                f"{self.task_family} requires {len(folders)} stages of the role {role}: expected 1"
            )
        return folders[0]
