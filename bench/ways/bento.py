"""BentoML's way. Run by serving.py."""

from pathlib import Path

import bentoml
import common


@bentoml.service(
    workers=2, metrics={"enabled": False}, logging={"access": {"enabled": False}}, traffic={"timeout": 60}
)
class Classifier:
    def __init__(self) -> None:
        self.session = common.session()

    @bentoml.api(route="/predict")
    def predict(self, file: Path) -> dict:
        return common.answer(self.session, common.pixels(file))
