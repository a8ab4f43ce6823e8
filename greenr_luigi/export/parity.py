"""Whether fastai, plain from `export.pkl`, and ONNX Runtime, from `model.onnx`, hold the same model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.errors import GreenrError
from greenr_luigi.evaluation.calibration import softmax
from greenr_luigi.evaluation.familiarity import Features, familiarity
from greenr_luigi.evaluation.predictions import Floats
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.inference import open_session
from greenr_luigi.pictures.door import open_picture, square
from greenr_luigi.training.libraries import fv

#: Largest difference of two probabilities between the two runtimes on the same pixels: float32 rounding.
TOLERANCE = 1e-4
#: So many squares of random pixels are compared besides the pictures.
NOISE = 3


class ParityError(GreenrError):
    """Two runtimes that ought to hold the same model disagree about a picture."""


def check_parity(folder: Path, card: ModelCard, pictures: list[Path], centers: Features) -> float:
    """The largest difference between the probabilities of the folder's `export.pkl` in fastai's own pipeline and of its
    `model.onnx`, on random pixels and from the bytes of pictures on.

    `centers` (classes, features) are those of evaluation/familiarity.py. Raises ParityError if the difference exceeds
    TOLERANCE, or one of logits or familiarity does, or one between a picture alone and in a batch.
    """
    size = card.image_size
    noise = np.random.default_rng(0).integers(0, 256, (NOISE, size, size, 3), np.uint8)
    images = [open_picture(path.read_bytes(), at_least=size) for path in pictures]
    squares = np.stack([*noise, *(square(image, size) for image in images)])
    session = open_session(folder / "model.onnx")
    alone = np.concatenate([session.run(["probabilities"], {"pixels": one[None]})[0] for one in squares])
    together, heat, near = session.run(["probabilities", "heat", "familiarity"], {"pixels": squares})

    with warnings.catch_warnings():
        # It warns that a pickle can run code; this one was written a moment ago.
        warnings.simplefilter("ignore", UserWarning)
        learn = fv.load_learner(folder / "export.pkl")
    if list(learn.dls.vocab) != card.classes:
        raise ParityError(f"export.pkl has the classes {list(learn.dls.vocab)}, expected {card.classes}")
    logits, features = run_fastai(learn, [*map(fv.PILImage.create, noise), *map(fv.PILImage, images)])
    probabilities = softmax(logits, card.temperature or 1.0)

    scale = max(1.0, np.abs(logits).max())
    differences = {
        "fastai and ONNX Runtime": probabilities - alone,
        "ONNX Runtime alone and in a batch": together - alone,
        "the mean of the heat and fastai's logits (relative)": (heat.mean((2, 3)) - logits) / scale,
        "familiarity in fastai and in ONNX Runtime": (familiarity(features, centers) - near)[:, None],
    }
    names = [*(f"random pixels {number}" for number in range(NOISE)), *map(str, pictures)]
    for what, difference in differences.items():
        largest = np.abs(difference).max(1)
        worst = int(largest.argmax())
        # Not ">": what is no number is no small difference.
        if not largest[worst] <= TOLERANCE:
            raise ParityError(
                f"{what} differ by {largest[worst]:.2g} on {names[worst]}, expected at most {TOLERANCE}; nothing is "
                "released; compare the `versions` in model.json with those of a release that worked"
            )
    return float(np.abs(probabilities - alone).max())


def run_fastai(learn: Any, images: list[Any]) -> tuple[Floats, Features]:
    """Logits (pictures, classes), and the body's features averaged over locations (pictures, features)."""
    loader = learn.dls.test_dl(images, num_workers=0, bs=8)
    with learn.no_bar(), learn.no_logging(), torch.inference_mode():
        logits = learn.get_preds(dl=loader, act=fv.noop)[0]
        features = torch.cat([learn.model.eval()[0](batch) for (batch,) in loader])
    return logits.double().numpy(), (features.mean((2, 3)) if features.ndim == 4 else features).numpy()
