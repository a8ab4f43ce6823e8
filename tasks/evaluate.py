"""EvaluateModel: how well the model does on pictures that it has not learned from, and a report."""

from pathlib import Path

from luigi.util import requires

from greenr_luigi import HERE
from greenr_luigi.stage import Stage
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel)
class EvaluateModel(Stage):
    code = ("greenr_luigi.evaluation",)
    libraries = (*TrainModel.libraries, "scipy", "scikit-learn", "cleanlab")

    def reads(self):
        return {"the report's template": HERE / "templates" / "report.html"}

    def work(self, out: Path):
        from greenr_luigi.evaluation import evaluate

        dataset, model = (task.place for task in self.requires())
        return evaluate(dataset, model, out, command=self.command, on_progress=self.on_progress())
