"""EvaluateModel: how well the model does on pictures that it has not learned from, and a report."""

from collections.abc import Mapping
from pathlib import Path

from luigi.util import requires

from greenr_luigi.about import TEMPLATES
from greenr_luigi.dataset.rows import EXCLUDED, NOTE, REFUSED
from greenr_luigi.stage import PipelineStage
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel)
class EvaluateModel(PipelineStage):
    role = "evaluation"

    uses_inherited = ()
    notes = ("report.html",)
    uses_notes = (EXCLUDED, REFUSED, NOTE)
    code = ("greenr_luigi.evaluation.evaluate",)
    libraries = TrainModel.libraries

    def reads(self) -> Mapping[str, Path]:
        return {"the report's template": TEMPLATES / "report.html"}

    def work(self, out: Path) -> Mapping[str, object]:
        from greenr_luigi.evaluation.evaluate import evaluate

        dataset, model = self.input_folder("dataset"), self.input_folder("model")
        metrics = evaluate(
            dataset,
            model,
            out,
            command=self.command,
            root=Path(self.root),
            on_progress=self.on_progress(),
        )
        return {"accuracy": round(metrics.accuracy, 4), "test pictures": metrics.pictures.test}
