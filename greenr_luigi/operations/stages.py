"""The stages of a module: `tasks`, or the module of a package with stages on top of those."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from greenr_luigi.errors import GreenrError
from greenr_luigi.stage import PipelineStage
from greenr_luigi.staleness.errors import no_python


def load_stages(module: str) -> Sequence[type[PipelineStage]]:
    """The STAGES of a module, in the order in which data flows. Its import lays the defaults under Luigi's
    configuration. Raises GreenrError if there is no such module, or none in it, and whatever else its own code does."""
    if not all(map(str.isidentifier, module.split("."))):
        raise GreenrError(f"--module {module}: expected the name of a Python module, such as tasks")
    try:
        imported = importlib.import_module(module)
    except SyntaxError as error:
        raise GreenrError(no_python(error.filename or module, error)) from None
    except ImportError as error:
        raise GreenrError(f"--module {module}: {error}") from None
    except ValueError as error:
        # What it is before Python 3.11.4.
        if "null bytes" not in str(error):
            raise
        raise GreenrError(no_python(module, error)) from None
    stages: Sequence[type[PipelineStage]] = getattr(imported, "STAGES", ())
    if not stages:
        raise GreenrError(
            f"--module {module}: {imported.__file__ or 'the folder'} has no STAGES: is it in the way of another "
            f"{module}? Rename it, or start elsewhere"
        )
    return stages


def deploying_stage(module: str) -> type[PipelineStage]:
    """The stage with which the pipeline is run: the last one of the role deployment."""
    return next(stage for stage in reversed(load_stages(module)) if stage.role == "deployment")


def default_root(module: str = "tasks") -> Path:
    """The data root that luigi.cfg names."""
    root: Path = deploying_stage(module).configured("root")
    return root
