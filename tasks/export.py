"""ExportModel: the model as fastai keeps it, and as the web classifier runs it; both must answer alike."""

from collections.abc import Mapping
from pathlib import Path

import luigi
from luigi.util import requires

from greenr_luigi.stage import PipelineStage
from tasks.evaluate import EvaluateModel
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel, EvaluateModel)
class ExportModel(PipelineStage):
    role = "export"

    #: SplitDataset's.
    min_side: int

    tracking = luigi.Parameter(
        significant=False, description="Address of an MLflow server to tell of each model; empty for none."
    )

    uses_inherited = ("min_side",)
    #: The report, which is told to MLflow, shapes no model.
    uses_notes = ()
    code = ("greenr_luigi.export.onnx_export",)
    libraries = TrainModel.libraries

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.export.onnx_export import export

        dataset, model, evaluation = map(self.input_folder, ("dataset", "model", "evaluation"))
        folders = (dataset, model, evaluation, out)
        card = export(*folders, on_progress=self.on_progress(), min_side=self.min_side, root=Path(self.root))
        if self.tracking:
            self.track(model, evaluation, out)
        return {"8-bit integers": card.int8 is not None and card.int8.offered}

    def track(self, model: Path, evaluation: Path, exported: Path) -> None:
        """Tell MLflow. All of it is on disk in any case: a tracking server that is down holds no release up."""
        from greenr_luigi.export.tracking import TrackingError, track

        try:
            self.tell(
                f"tracked as run {track(self.tracking, model, evaluation, exported)} on {self.tracking}"
            )
        except TrackingError as error:
            self.tell(f"not tracked: {error}")
