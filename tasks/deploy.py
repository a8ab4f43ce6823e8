"""DeployApp: the exported model released, and a web classifier that serves it."""

import json
from pathlib import Path

import luigi
from luigi.util import requires

from greenr_luigi import HERE
from greenr_luigi.stage import Stage
from tasks.evaluate import EvaluateModel
from tasks.export import ExportModel


@requires(EvaluateModel, ExportModel)
class DeployApp(Stage):
    host = luigi.Parameter(description="Address that the web classifier listens on.")
    port = luigi.IntParameter(description="Port that the web classifier listens on.")
    web_workers = luigi.IntParameter(description="Processes that serve; 0 for one a core.")
    root_path = luigi.Parameter(
        description="Path under which a proxy mounts the page, such as /app; empty for none."
    )

    code = ("greenr_luigi.deployment", "greenr_luigi.web")
    libraries = ("starlette", "uvicorn", "uvicorn-worker", "gunicorn", "onnxruntime", "pillow")

    def reads(self):
        return {"the page's assets": HERE / "static", "the page's templates": HERE / "templates"}

    def overtaken(self, stamp):
        from greenr_luigi.deployment import astray

        return astray(
            Path(self.root),
            self.host,
            self.port,
            json.loads((self.place / "deployment.json").read_text())["release"],
        )

    def work(self, out: Path):
        from greenr_luigi.deployment import deploy

        evaluation, exported = (task.place for task in self.requires())
        release = deploy(Path(self.root), [exported, evaluation], self.host, self.port, workers=self.web_workers,
                         root_path=self.root_path, on_progress=self.on_progress())  # fmt: skip
        address = f"http://{self.host}:{self.port}/"
        (out / "deployment.json").write_text(json.dumps({"release": release, "address": address}) + "\n")
        self.tell(
            f"your classifier is live: {address}  (report: {address}model, or {evaluation / 'report.html'})"
        )
        return {"release": release}
