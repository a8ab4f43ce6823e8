"""What MLflow runs to answer from a release; copied into the MLflow model by tracking.write_model."""

import base64
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime
import pandas as pd

from greenr_luigi.pictures import door


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc, unused-ignore]
    """A column `picture` of base64 bytes to a row a picture: `label`, empty where it cannot tell, and a
    column a class."""

    def load_context(self, context: Any) -> None:
        self.card = json.loads(Path(context.artifacts["model.json"]).read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(
            context.artifacts["model.onnx"], providers=["CPUExecutionProvider"]
        )

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        size, classes = self.card["image_size"], self.card["classes"]
        squares = [
            door.square(door.open_picture(base64.b64decode(data), at_least=size), size)
            for data in model_input["picture"]
        ]
        outputs = ["probabilities", *(["familiarity"] if "familiarity" in self.card else [])]
        found, *near = self.session.run(outputs, {"pixels": np.stack(squares)})
        sure = found.max(1) >= self.card["threshold"]
        if near:
            sure &= near[0] >= self.card["familiarity"]
        said = [classes[int(p.argmax())] if answers else "" for p, answers in zip(found, sure, strict=True)]
        return pd.DataFrame({"label": said} | {name: found[:, i] for i, name in enumerate(classes)})


mlflow.models.set_model(Scorer())
