"""The outputs under a data root: what each is, what it was made from, and which are in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenr_luigi import contracts
from greenr_luigi.errors import GreenrError
from greenr_luigi.operations.stages import load_stages
from greenr_luigi.serving import rollout
from greenr_luigi.staleness.stamp import Stamp, stamps


@dataclass(frozen=True, eq=False)
class Output:
    """A finished output. `folder`: a link to it; `role`: that of its stage, None if it lies in no folder of a stage of
    the module: it is another module's, or a copy that a person made."""

    folder: Path
    stamp: Stamp
    role: str | None


def find_outputs(root: Path, module: str = "tasks") -> list[Output]:
    """Every output under a root, the newest first."""
    # A stage writes to the folder of its name, whatever else it may be called there.
    roles = {stage.get_task_family(): stage.role for stage in load_stages(module)}
    outputs = [
        Output(link, stamp, roles.get(family.name))
        for family in sorted(root.glob("*/"))
        for link, stamp in stamps(family).items()
    ]
    return sorted(outputs, key=lambda output: output.stamp.order, reverse=True)


def of_role(outputs: Iterable[Output], role: str) -> Iterator[Output]:
    return (output for output in outputs if output.role == role)


def made_from(output: Output, outputs: Sequence[Output]) -> list[Output]:
    """The output itself and all that it was made from, the nearest first; told by the digests in the stamps."""
    chain = [output]
    for later in chain:
        wanted = later.stamp.inputs
        chain += [
            o
            for o in outputs
            if (recorded := wanted.get(o.stamp.title)) and o.stamp.was_input(recorded) and o not in chain
        ]
    return chain


def live_outputs(root: Path, outputs: Sequence[Output]) -> list[Output]:
    """The outputs that the serving release was made from."""
    from greenr_luigi.deployment.deploy import Deployment

    def release(output: Output) -> str:
        path = output.folder / "deployment.json"
        try:
            return contracts.read(path, Deployment).release
        except FileNotFoundError:
            raise GreenrError(
                f"{path} is missing: run {output.stamp.title} again, or remove {output.folder}"
            ) from None

    serving = rollout.current(root / "releases")
    live = (output for output in of_role(outputs, "deployment") if release(output) == serving)
    return [used for output in live for used in made_from(output, outputs)]
