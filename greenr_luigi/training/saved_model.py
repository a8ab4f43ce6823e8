"""A trained model on disk: what TrainModel writes and the stages after it read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class DataSetError(ValueError):
    """A data set that no model can be trained on, or judged by."""


def load(model: Path) -> tuple[Any, dict[str, Any]]:
    """The fastai Learner of a TrainModel folder, on the CPU and in evaluation mode, and its training.json."""
    from safetensors.torch import load_file

    from greenr_luigi.training import architectures

    info = json.loads((model / "training.json").read_text(encoding="utf-8"))
    learn = architectures.learner(
        architectures.find(info["arch"]), info["classes"], info["image_size"], pretrained=False
    )
    learn.model.load_state_dict(load_file(model / "model.safetensors"))
    learn.model.eval()
    return learn, info


def write_json(path: Path, values: Any) -> None:
    """JSON with sorted keys and full-precision numbers: the same values give the same bytes."""
    path.write_text(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
