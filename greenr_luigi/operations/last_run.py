"""The last run under a data root: what it judged, and the line that runs it again."""

from __future__ import annotations

import contextlib
from pathlib import Path

from greenr_luigi import contracts, settings
from greenr_luigi.errors import SettingError
from greenr_luigi.evaluation.metrics import Metrics
from greenr_luigi.operations.outputs import find_outputs, made_from, of_role
from greenr_luigi.operations.stages import default_root, deploying_stage, load_stages
from greenr_luigi.pictures.terms import MIN_SIDE
from greenr_luigi.review.catalogue import Places
from greenr_luigi.sources.defaults import filled_in
from greenr_luigi.stage import PipelineStage, command_line
from greenr_luigi.staleness import output_folder


def dataset_and_evaluation(root: Path, module: str = "tasks") -> tuple[Path, Path] | None:
    """The folders of the newest evaluation and of the data set that it was made from; None before the first."""
    outputs = find_outputs(root, module)
    for evaluation in of_role(outputs, "evaluation"):
        for dataset in of_role(made_from(evaluation, outputs), "dataset"):
            return dataset.folder, evaluation.folder
    return None


def places(root: Path, module: str = "tasks") -> Places:
    """Where the pictures lie that a person can look through: those that the newest data set was made from, and what was
    collected since."""
    outputs = find_outputs(root, module)
    dataset, evaluation = (next(of_role(outputs, role), None) for role in ("dataset", "evaluation"))
    used = made_from(dataset, outputs) if dataset else []
    pictures: dict[str, Path] = {}
    for output in of_role(outputs, "pictures"):
        if dataset is None or output in used or output.stamp.order > dataset.stamp.order:
            pictures.setdefault(output.stamp.parameters.get("label", ""), output.folder)
    return Places(pictures, *(output.folder if output else None for output in (dataset, evaluation)))


def state(root: Path, module: str = "tasks") -> frozenset[Path]:
    """Which outputs there are, without a look at what they are: another answer once any of them is another."""
    links = [link for stage in load_stages(module) for link in (root / stage.get_task_family()).glob("[!.]*")]
    return frozenset(folder for link in links if (folder := output_folder.folder_of(link)))


def classes(root: Path, module: str = "tasks") -> list[str] | None:
    """The classes of the newest model; None before the first."""
    folders = dataset_and_evaluation(root, module)
    return folders and contracts.read(folders[1] / "metrics.json", Metrics).classes


def min_side(root: Path, module: str = "tasks") -> int:
    """The least side of a picture: of the newest deployment, or as it is configured."""
    said = _configured(deploying_stage(module)) | _deployed(root, module)
    return int(said.get("min_side", MIN_SIDE))


def command_to_run_again(root: Path, module: str = "tasks") -> str:
    """The command that runs the newest deployment under the root once more. It names the parameters that differ from
    the configured ones. Those that shape no output (--floor, --margin, --refresh-days, --tracking) are not recorded,
    and so are as they are configured."""
    stage = deploying_stage(module)
    configured = _configured(stage)
    options = {} if root.absolute() == default_root(module) else {"root": str(root)}
    recorded = _deployed(root, module).items()
    options |= {name: value for name, value in recorded if value != configured.get(name)}
    return command_line(module, stage.get_task_family(), options)


def options(root: Path, module: str = "tasks") -> list[str]:
    """Those of the newest deployment under the root that differ from the configured ones, but for what luigi.cfg says
    otherwise than the packaged defaults: that a person wants now."""
    stages, stage = load_stages(module), deploying_stage(module)
    parameters, configured = dict(stage.get_params()), _configured(stage)
    packaged = settings.packaged_defaults(stages[: stages.index(stage) + 1])
    packaged = filled_in(
        {name: parameters[name].parse(packaged[name]) for name in packaged.keys() & parameters.keys()}
    )
    return [
        f"--{name.replace('_', '-')}={value}"
        for name, value in _deployed(root, module).items()
        if name in configured.keys() & packaged.keys()
        and value != configured[name] == parameters[name].serialize(packaged[name])
    ]


def _deployed(root: Path, module: str) -> dict[str, str]:
    """The parameters of the newest deployment; none before the first."""
    deployment = next(of_role(find_outputs(root, module), "deployment"), None)
    return deployment.stamp.parameters if deployment else {}


def _configured(stage: type[PipelineStage]) -> dict[str, str]:
    """The parameters that need not be given, and what they are then."""
    family, parameters = stage.get_task_family(), dict(stage.get_params())
    values = {
        name: parameter.task_value(family, name)
        for name, parameter in parameters.items()
        if parameter.has_task_value(family, name)
    }
    # A folder that is gone tells nothing.
    with contextlib.suppress(SettingError):
        values = filled_in(values)
    return {name: parameters[name].serialize(value) for name, value in values.items()}
