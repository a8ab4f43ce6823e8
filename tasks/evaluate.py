"""EvaluateModel: how well the model does on pictures that neither training nor choice has seen, and a report."""

from pathlib import Path

from luigi.util import requires

from greenr_luigi.stage import Stage
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel)
class EvaluateModel(Stage):
    code = ("greenr_luigi.evaluation", "greenr_luigi.calibration", "greenr_luigi.report", "greenr_luigi.pictures")
    libraries = TrainModel.libraries

    def work(self, out: Path):
        from greenr_luigi.evaluation import evaluate

        dataset, model = (task.place for task in self.requires())
        return evaluate(dataset, model, out, on_progress=self.on_progress())
