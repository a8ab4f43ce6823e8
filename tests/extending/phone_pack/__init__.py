"""A stage on top of `tasks`: the model and its labels as an app on a phone wants them."""

import shutil
from pathlib import Path

import luigi
from luigi.util import requires

import tasks
from greenr_luigi import contracts, settings
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.stage import PipelineStage


@requires(tasks.ExportModel)
class PackForPhone(PipelineStage):
    app = luigi.Parameter(description="What the app calls the model.")
    uses_inherited = ()

    def work(self, out: Path) -> dict[str, int]:
        exported = self.input_folder("export")
        labels = contracts.read(exported / "model.json", ModelCard).classes
        shutil.copyfile(exported / "model.onnx", out / f"{self.app}.onnx")
        (out / f"{self.app}.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
        return {"labels": len(labels)}


STAGES = (*tasks.STAGES, PackForPhone)
settings.apply(STAGES, defaults=Path(__file__).with_name("luigi.cfg"))
