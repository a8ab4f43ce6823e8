"""DeployApp: the exported model let through the gate, released, and served by a web classifier."""

import argparse
import atexit
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import luigi
from luigi.util import requires

from greenr_luigi import config_check, run_history
from greenr_luigi.errors import GreenrError, SettingError, os_refusals_explained
from greenr_luigi.parameters import CheckedParameter, NumberParameter
from greenr_luigi.serving.launch import ASSETS, LIBRARIES
from greenr_luigi.stage import INTERRUPTED, PipelineStage
from greenr_luigi.staleness.stamp import Stamp, stamps
from greenr_luigi.staleness.telling import logger
from tasks.evaluate import EvaluateModel
from tasks.export import ExportModel
from tasks.split import SplitDataset
from tasks.train import TrainModel

if TYPE_CHECKING:
    from greenr_luigi.serving.service import Service


class PrefixParameter(CheckedParameter[str]):
    """A path prefix, by the rule of the page itself; or none, which is empty text."""

    def check(self, value: str) -> str:
        if not value:
            return value
        from greenr_luigi.web.settings import prefix

        try:
            return prefix(value)
        except ValueError as error:
            raise SettingError(f"{self._option} {value}: {error}") from None


class AddressParameter(CheckedParameter[str]):
    """The address of a server, without its last slash; or none, which is empty text."""

    expected = "an address such as http://app:8008, without a path"

    def check(self, value: str) -> str:
        if not value:
            return value
        from greenr_luigi.serving.elsewhere import address

        return address(value)


@requires(SplitDataset, TrainModel, EvaluateModel, ExportModel)
class DeployApp(PipelineStage):
    role = "deployment"

    host = luigi.Parameter(description="Address that the web classifier listens on.")
    port = NumberParameter(
        int, 0, 65535, description="Port that the web classifier listens on; 0 for a free one."
    )
    web_workers = NumberParameter(int, 0, description="Processes that serve; 0 for one a core.")
    root_path = PrefixParameter(
        description="Path under which a proxy mounts the page, such as /app; empty for none."
    )
    served_at = AddressParameter(
        description="Address of a server of this root that others start, such as http://app:8008; empty: ours."
    )
    floor = NumberParameter(
        float, 0, 1, significant=False, description="The least accuracy, from 0 to 1, that is released."
    )
    margin = NumberParameter(
        float,
        0,
        1,
        significant=False,
        description="How much more error than the serving release's is let pass where chance may explain it.",
    )

    code = ("greenr_luigi.deployment.deploy", "greenr_luigi.web")
    libraries = LIBRARIES

    @property
    def service(self) -> "Service":
        return self._service(Path(self.root), self.to_str_params())

    @classmethod
    def last_service(cls, root: Path, otherwise: Mapping[str, str] = MappingProxyType({})) -> "Service":
        """Where the newest deployment under a root serves; before the first, by the parameters `otherwise`. Of those
        only what tells it is looked at: what that deployment was made from may be gone."""
        recorded = (stamp.parameters for stamp in stamps(root / cls.get_task_family()).values())
        texts = dict(next(recorded, otherwise))
        if texts.get("served_at"):
            # Others mount that one, too, and need no deployment for it.
            texts.pop("root_path", None)
        return cls._service(root, texts)

    @classmethod
    def _service(cls, root: Path, texts: Mapping[str, str]) -> "Service":
        """By parameters as text; one that is missing is as configured."""
        from greenr_luigi.serving.service import Service

        parameters = dict(cls.get_params())
        host, port, web_workers, root_path, served_at = (
            parameters[name].parse(texts[name]) if name in texts else cls.configured(name)
            for name in ("host", "port", "web_workers", "root_path", "served_at")
        )
        places = root / "releases", root / "server"
        return Service(*places, host, port, web_workers, root_path, config_check.of_server(), served_at)

    @classmethod
    def refused(cls, arguments: Sequence[str]) -> None:
        options = argparse.ArgumentParser(add_help=False)
        options.add_argument("--root", type=cls.root.normalize)
        # Luigi has not set up its log yet.
        tell = functools.partial(print, file=sys.stderr)
        try:
            root = options.parse_known_args(arguments)[0].root or cls.configured("root")
            cls.last_service(root)
        except (GreenrError, OSError):
            return  # It says what is refused anyway.
        cls.serve_on(root, {}, tell)

    @classmethod
    def serve_on(
        cls, root: Path, otherwise: Mapping[str, str], tell: Callable[[str], None]
    ) -> GreenrError | OSError | None:
        """However a run ends, the last good release serves: also where nothing did, as after a reboot. It does so where
        the last deployment served it, since the run has not brought the one that is asked for. Returns what kept it
        from serving, which `tell` has got in words."""
        from greenr_luigi.deployment import deploy

        try:
            with os_refusals_explained(root):
                deploy.serve_on(cls.last_service(root, otherwise), tell)
        except (GreenrError, OSError) as error:
            tell(f"the page stays as it is: {error}")
            return error
        return None

    def reads(self) -> dict[str, Path]:
        return ASSETS

    def outside_cause(self, stamp: Stamp) -> str | None:
        from greenr_luigi.deployment.deploy import why_not_serving

        return why_not_serving(self.service, self.output_folder)

    def work(self, out: Path) -> dict[str, object]:
        from greenr_luigi.dataset.rows import read_manifest
        from greenr_luigi.deployment.deploy import Candidate, deploy
        from greenr_luigi.deployment.gate import Limits
        from greenr_luigi.sources.listed import by_engine, counted

        candidate = Candidate(*map(self.input_folder, ("dataset", "model", "evaluation", "export")))
        limits = Limits(self.floor, self.margin, force=self.task_family in self.force)
        warnings = self.warnings()
        deployment = deploy(candidate, self.service, limits, out, self.on_progress(), warnings)
        address, report = deployment.address, self.output_folder / "report.html"
        self.tell(f"your classifier is live: {address}  (about the model: {address}model, {report})")
        engines = by_engine(read_manifest(self.input_folder("dataset")))
        self.tell(f"its pictures: {counted(engines, ' from ')}")
        for words in filter(None, [*warnings, self.service.untold()]):
            logger.warning(words)
        return {"release": deployment.release}

    def outcome(self, released: bool) -> dict[str, object]:
        """What the run brought, for people: pictures, accuracy and, where it was released, the release."""
        places = {"pictures": self.input_folder("dataset"), "accuracy": self.input_folder("evaluation")}
        if released:
            places["release"] = self.output_folder
        found = {name: Stamp.if_any(folder) for name, folder in places.items()}
        return {name: stamp.summary[name] for name, stamp in found.items() if stamp and name in stamp.summary}


#: The deployments that the runs of this process were asked for, and when each began, by the monotonic clock.
deployments: dict[DeployApp, float] = {}


def asked_for(deployment: DeployApp, *_: object) -> None:
    """Luigi has found a deployment to be complete, is about to make it, or cannot tell whether it is, or what it
    takes."""
    if deployment not in deployments:
        deployments[deployment] = time.monotonic()
        atexit.register(note_run, deployment)
        texts = deployment.to_str_params()
        atexit.register(deployment.serve_on, Path(deployment.root), texts, deployment.tell)


def note_run(deployment: DeployApp) -> None:
    """Leave a line in the history."""
    root, seconds = Path(deployment.root), time.monotonic() - deployments[deployment]
    try:
        stale = deployment.stale_because()
    except GreenrError as error:
        stale = str(error)
    # What ends this process, if an exception does. Between two stages no other line tells of it.
    if stale and getattr(sys, "last_type", None) is KeyboardInterrupt:
        stale = INTERRUPTED
    try:
        stages = [event for event in run_history.read(root) if event.run == run_history.RUN]
    except OSError as error:
        deployment.tell(f"not noted in {root / run_history.FILE}: {error.strerror}")
        return
    event = run_history.of_run(deployment.title, seconds, stages, stale)
    if event.outcome in ("deployed", "refused"):
        # One that was refused left the stamp of the deployment before it, and so its release.
        event.summary.update(deployment.outcome(released=event.outcome == "deployed"))
    if event.outcome != "failed":
        event.warnings.extend(deployment.warnings())
    run_history.append(root, event, deployment.tell)


for event in (
    luigi.Event.DEPENDENCY_PRESENT,
    luigi.Event.DEPENDENCY_DISCOVERED,
    luigi.Event.DEPENDENCY_MISSING,
    luigi.Event.BROKEN_TASK,
):
    DeployApp.event_handler(event)(asked_for)
