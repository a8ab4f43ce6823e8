"""The base class of this pipeline's stages."""

from __future__ import annotations

import configparser
import errno
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import luigi
from luigi.parameter import MissingParameterException, ParameterVisibility

from greenr_luigi import config_check, cores, run_history
from greenr_luigi.errors import REMEDIES, GreenrError, SettingError
from greenr_luigi.parameters import FolderParameter, NumberParameter, StagesParameter
from greenr_luigi.pictures.terms import MIN_SIDE
from greenr_luigi.sources import defaults, registry
from greenr_luigi.staleness.locks import PATIENCE
from greenr_luigi.staleness.requirements import run_order
from greenr_luigi.staleness.stage import Stage
from greenr_luigi.staleness.stamp import Stamp
from greenr_luigi.staleness.telling import logger
from greenr_luigi.training.recipes import RECIPES

#: Where and how, which shape no output.
PLUMBING = ("root", "force", "wait_hours")
INTERRUPTED = "it was interrupted, as by Ctrl-C, SIGTERM or a shutdown: the next run takes it up"


class StageError(GreenrError):
    """A stage cannot do its work; the message says what stands in the way and what to do."""


class PipelineStage(Stage):
    """A stage that is asked for by what its output is, not by its name, so that a stage may come between two others."""

    root = FolderParameter(description="Folder for everything that the pipeline writes.")
    force = StagesParameter(
        default=(),
        significant=False,
        description="Stages to run although they are complete: TrainModel,ExportModel.",
    )

    wait_hours = NumberParameter(
        float,
        0,
        default=PATIENCE / 3600,
        significant=False,
        description="Hours that a run waits for another one.",
    )

    error = StageError
    remedies: ClassVar[Mapping[int, str]] = {
        **Stage.remedies,
        errno.ENOSPC: REMEDIES[errno.ENOSPC],
        errno.EDQUOT: REMEDIES[errno.EDQUOT],
    }

    #: What the output is: "pictures", "dataset", "model", "evaluation", "export" or "deployment"; "shard" for a part of
    #: the pictures; empty for anything else. Of two stages in a row, such as a split and its augmentation, both may be
    #: a "dataset".
    role: ClassVar[str] = ""

    #: When it was last started, by the monotonic clock.
    began = 0.0

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
        """Luigi makes the task of these, its id and its output's key: what is empty is told by the folder before."""
        values = dict(super().get_param_values(params, args, kwargs))
        return [*defaults.filled_in(values).items()]

    @property
    def parameters(self) -> dict[str, str]:
        """A limit that is the default of the source counts as none, in every stage that inherits these two. A min_side
        that was the only one once counts as not said: nothing that was made then is made again. Minutes count for a
        recipe that looks at them, and where they are not its own."""
        parameters = super().parameters
        if "source" in parameters and parameters.get("limit") == str(
            registry.find(parameters["source"]).default_limit
        ):
            parameters["limit"] = "0"
        if parameters.get("min_side") == str(MIN_SIDE):
            del parameters["min_side"]
        if not parameters.get("label_pattern", "none"):
            del parameters["label_pattern"]
        recipe = RECIPES.get(parameters.get("recipe", ""))
        if recipe and (recipe.minutes is None or float(parameters.get("minutes", 0)) in (0, recipe.minutes)):
            parameters.pop("minutes", None)
        return parameters

    def _get_param_visibilities(self) -> dict[str, int]:
        """What luigid's page shows of the parameters: those that nobody gave, and where things lie, say nothing."""
        shown: dict[str, int] = super()._get_param_visibilities()  # type: ignore[no-untyped-call]
        kinds = dict(self.get_params())
        hidden = [name for name in shown if name in PLUMBING or not self._is_given(name, kinds[name])]
        return shown | dict.fromkeys(hidden, ParameterVisibility.HIDDEN.serialize())

    def _is_given(self, name: str, kind: luigi.Parameter[Any]) -> bool:
        """Whether a parameter has another value than the defaults give it."""
        config, family = luigi.configuration.get_config(), self.task_family
        value, written = getattr(self, name), kind._default
        if config.has_option(family, name):
            text = config.get(family, name, raw=True)
            if not isinstance(text, config_check.Default):
                return True
            written = kind.normalize(kind.parse(text))
        return bool(value != defaults.filled_in({name: written})[name])

    @property
    def patience(self) -> float:
        return 3600 * self.wait_hours

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

    def warnings(self) -> list[str]:
        """What the stages before this one went on without (`warning` in their summaries), each once, with whose."""
        titles: dict[str, list[str]] = {}
        for stage in run_order(self)[:-1]:
            stamp = Stamp.if_any(stage.output_folder)
            if stamp and (words := stamp.summary.get("warning")):
                titles.setdefault(str(words), []).append(stage.title)
        return [f"{', '.join(sorted(whose))}: {words}" for words, whose in titles.items()]

    @classmethod
    def configured(cls, name: str) -> Any:
        """What luigi.cfg says of a parameter. Raises SettingError for what is not valid."""
        family = cls.get_task_family()
        try:
            return dict(cls.get_params())[name].task_value(family, name)
        except (configparser.Error, MissingParameterException):
            raise SettingError(
                f"luigi.cfg: [{family}] {name}: it cannot be told from what is written there"
            ) from None

    @classmethod
    def refused(cls, arguments: Sequence[str]) -> None:
        """A command that was to run this stage ends before it is instantiated, since luigi.cfg or the `arguments` of
        Luigi's command line are not valid."""

    def run(self) -> None:
        cores.left_to_others_while_waiting()
        # Lent by Luigi as long as it runs; its page, on which this is a link, stands two folders below that of runs.
        if lent := getattr(self, "set_tracking_url", None):
            lent(f"../../runs/{run_history.RUN}" + (f"?log={run_history.LOG}" if run_history.LOG else ""))
        try:
            super().run()
        except KeyboardInterrupt:
            # Of which Luigi tells no handler.
            note(self, "failed", INTERRUPTED, faults=[f"{self.task_family} interrupted"])
            raise

    @property
    def command(self) -> str:
        """The line that makes this output again, under whatever root."""
        given = {name: value for name, value in self.parameters.items() if value}
        # The shortest package that has the class, such as `tasks`, in which there are more.
        parts = type(self).__module__.split(".")
        packages = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        has_it = (p for p in packages if getattr(sys.modules.get(p), type(self).__name__, None) is type(self))
        return command_line(next(has_it, type(self).__module__), self.task_family, given)


def note(stage: PipelineStage, outcome: run_history.Outcome, because: str, **more: Any) -> None:
    """Leave a line in the history."""
    seconds = round(time.monotonic() - stage.began, 3)
    event = run_history.Event(
        kind="stage", name=stage.title, outcome=outcome, seconds=seconds, because=because, **more
    )
    run_history.append(Path(stage.root), event, stage.tell)


def note_start(stage: PipelineStage) -> None:
    stage.began = time.monotonic()


def note_success(stage: PipelineStage) -> None:
    if stage.did:
        stamp = stage.stamp()
        said = {name: value for name, value in stamp.summary.items() if name not in stage.unsaid}
        note(stage, stage.did, stamp.because, summary=said)
        if words := stamp.summary.get("warning"):
            logger.warning("%s: %s", stage.title, words)


def note_failure(stage: PipelineStage, error: BaseException) -> None:
    from greenr_luigi.deployment.deploy import Refused

    outcome: run_history.Outcome = "refused" if isinstance(error, Refused) else "failed"
    # Of one stage a class, such as DownloadImages, it is the same fault whichever of them it shows in.
    faults = [run_history.fault_of(stage.task_family, error)]
    if isinstance(error, GreenrError):
        note(stage, outcome, str(error), passing=error.passing, faults=faults)
    else:
        note(stage, outcome, f"{type(error).__name__}: {error}", faults=faults)


def note_unscheduled(stage: PipelineStage) -> None:
    """Luigi cannot tell whether a stage is complete, and does not say why to whoever asks."""
    try:
        stage.stale_because()
    except GreenrError as error:
        # Those behind it cannot tell for the same reason, and Luigi asks these first.
        told = (event.because for event in run_history.read(Path(stage.root)) if event.run == run_history.RUN)
        if str(error) not in told:
            note_start(stage)
            note_failure(stage, error)


for event, handler in (
    (luigi.Event.DEPENDENCY_MISSING, note_unscheduled),
    (luigi.Event.START, note_start),
    (luigi.Event.SUCCESS, note_success),
    (luigi.Event.FAILURE, note_failure),
):
    PipelineStage.event_handler(event)(handler)


def command_line(module: str, family: str, parameters: Mapping[str, str]) -> str:
    """What to type to run a stage with these parameters."""
    # What begins with a dash would be taken for an option.
    options = [
        f"--{name.replace('_', '-')}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"
        for name, value in parameters.items()
    ]
    return " ".join([f"luigi --module {module} {family} --local-scheduler", *options])
