"""DeployApp: the exported model let through the gate, released, and served by a web classifier."""

from pathlib import Path

import luigi
from luigi.util import requires

from greenr_luigi.paths import STATIC, TEMPLATES
from greenr_luigi.settings import NumberParameter
from greenr_luigi.stage import PipelineStage
from tasks.evaluate import EvaluateModel
from tasks.export import ExportModel
from tasks.split import SplitDataset
from tasks.train import TrainModel


@requires(SplitDataset, TrainModel, EvaluateModel, ExportModel)
class DeployApp(PipelineStage):
    role = "deployment"

    host = luigi.Parameter(description="Address that the web classifier listens on.")
    port = NumberParameter(
        int, 0, 65535, description="Port that the web classifier listens on; 0 for a free one."
    )
    web_workers = NumberParameter(int, 0, description="Processes that serve; 0 for one a core.")
    root_path = luigi.Parameter(
        description="Path under which a proxy mounts the page, such as /app; empty for none."
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
    libraries = ("starlette", "uvicorn", "uvicorn-worker", "gunicorn", "onnxruntime", "pillow")

    def reads(self):
        return {"the page's assets": STATIC, "the page's templates": TEMPLATES}

    def outside_cause(self, stamp):
        from greenr_luigi.deployment.deploy import astray

        return astray(Path(self.root), self.host, self.port, self.output_folder)

    def work(self, out: Path):
        from greenr_luigi import contracts
        from greenr_luigi.deployment.deploy import Deployment, deploy

        inputs = map(self.input_folder, ("dataset", "model", "evaluation", "export"))
        release = deploy(Path(self.root), *inputs, out, host=self.host, port=self.port,
                         workers=self.web_workers, root_path=self.root_path, floor=self.floor, margin=self.margin,
                         force=self.task_family in self.force, on_progress=self.on_progress())  # fmt: skip
        address = contracts.read(out / "deployment.json", Deployment).address
        report = self.output_folder / "report.html"
        self.tell(f"your classifier is live: {address}  (about the model: {address}model, {report})")
        return {"release": release}
