"""ExportModel: the model as fastai keeps it, and as the web classifier runs it; both must answer alike."""

from pathlib import Path

from luigi.util import requires

from greenr_luigi.stage import Stage
from tasks.evaluate import EvaluateModel
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel, EvaluateModel)
class ExportModel(Stage):
    code = ("greenr_luigi.export",)
    libraries = (*TrainModel.libraries, "onnx", "onnxscript", "onnxruntime")

    def work(self, out: Path):
        from greenr_luigi.export import export

        dataset, model, evaluation = (task.place for task in self.requires())
        return export(dataset, model, evaluation, out, on_progress=self.on_progress())
