"""What MLflow runs to answer from a release. tracking.write_model copies it into the MLflow model, with all modules of
the project that it imports."""

import base64
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from greenr_luigi.export.model_card import read_card
from greenr_luigi.inference import is_answer, open_session
from greenr_luigi.pictures.door import open_picture, square


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined, misc, unused-ignore]
    """Takes a column `picture` of files in base64. Gives a row a picture: `label`, empty where it cannot tell, and the
    probability of each class in a column of its name."""

    def load_context(self, context: Any) -> None:
        self.card = read_card(Path(context.artifacts["model.json"]).parent)
        self.session = open_session(Path(context.artifacts["model.onnx"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        card, size = self.card, self.card.image_size
        pictures = [
            open_picture(base64.b64decode(data), size, card.door_version, card.terms)
            for data in model_input["picture"]
        ]
        pixels = np.stack([square(picture, size) for picture in pictures])
        names = ["probabilities"] if card.familiarity is None else ["probabilities", "familiarity"]
        probabilities, *familiarity = self.session.run(names, {"pixels": pixels})
        sure = is_answer(
            probabilities.max(1), familiarity[0] if familiarity else None, card.threshold, card.familiarity
        )
        labels = np.where(sure, np.array(card.classes)[probabilities.argmax(1)], "")
        return pd.DataFrame({"label": labels, **dict(zip(card.classes, probabilities.T, strict=True))})


mlflow.models.set_model(Scorer())
