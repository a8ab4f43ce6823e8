"""Whether `export.pkl` in plain fastai and `model.onnx` in ONNX Runtime are the same model."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.dataset.pixels import Pixels
from greenr_luigi.errors import GreenrError
from greenr_luigi.evaluation.calibration import softmax
from greenr_luigi.evaluation.familiarity import Features, familiarity
from greenr_luigi.evaluation.predictions import Floats
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.inference import open_session
from greenr_luigi.pictures.door import open_picture, square
from greenr_luigi.pictures.terms import TAKEN
from greenr_luigi.staleness import regular
from greenr_luigi.training import linear_head
from greenr_luigi.training.features import keep_memory
from greenr_luigi.training.libraries import fv

#: The largest difference that float32 rounding may make.
TOLERANCE = 1e-4
#: How many squares of random pixels are compared, besides the pictures.
NOISE = 3


class ParityError(GreenrError):
    """Two files that ought to hold the same model disagree about a picture."""


def check_parity(
    folder: Path, card: ModelCard, pictures: list[Path], centers: Features, pickled: bytes
) -> float:
    """Ask the Learner `pickled`, in fastai's own pipeline, and the folder's `model.onnx` about the same pictures and
    random pixels. Returns the largest difference of their probabilities.

    `centers`: familiarity.class_centers. Raises ParityError if probabilities, logits or familiarity differ by more than
    TOLERANCE, or those of a picture alone and in a batch do.
    """
    size = card.image_size
    noise = np.random.default_rng(0).integers(0, 256, (NOISE, size, size, 3), np.uint8)
    images = [open_picture(regular.read(path), size, terms=TAKEN) for path in pictures]
    squares = np.stack([*noise, *(square(image, size) for image in images)])
    with warnings.catch_warnings():
        # It warns that a pickle can run code; these bytes were made in this process.
        warnings.simplefilter("ignore", UserWarning)
        learn = fv.load_learner(io.BytesIO(pickled))
    if list(learn.dls.vocab) != card.classes:
        raise ParityError(f"export.pkl has the classes {list(learn.dls.vocab)}, expected {card.classes}")
    # A core for each: threads of both that share out the layers would wait for each other.
    with linear_head.on_one_thread(), ThreadPoolExecutor(1) as beside:
        in_onnx = beside.submit(run_onnx, folder / "model.onnx", squares)
        logits, features = run_fastai(learn, [*map(fv.PILImage.create, noise), *map(fv.PILImage, images)])
        alone, together, heat, near = in_onnx.result()
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
        # Not ">": that would let NaN pass.
        if not largest[worst] <= TOLERANCE:
            raise ParityError(
                f"{what} differ by {largest[worst]:.2g} on {names[worst]}, expected at most {TOLERANCE}; nothing is "
                "released; compare the `versions` in model.json with those of a release that worked"
            )
    return float(np.abs(probabilities - alone).max())


def run_onnx(model: Path, squares: Pixels) -> list[Features]:
    """Probabilities of each square (squares, S, S, 3) alone, and in a batch; and heat and familiarity."""
    session = open_session(model, threads=1)
    alone = [session.run(["probabilities"], {"pixels": one[None]})[0] for one in squares]
    together = session.run(["probabilities", "heat", "familiarity"], {"pixels": squares})
    return [np.concatenate(alone), *together]


def run_fastai(learn: Any, images: list[Any]) -> tuple[Floats, Features]:
    """Logits (pictures, classes), and the body's features averaged over locations (pictures, features)."""
    loader = learn.dls.test_dl(images, num_workers=0, bs=8)
    # Where its values lie in memory changes none of them, and takes half the time.
    learn.model.to(memory_format=torch.channels_last)
    keep_memory()
    seen: list[torch.Tensor] = []
    hook = learn.model[0].register_forward_hook(lambda body, batch, found: seen.append(found))
    try:
        with learn.no_bar(), learn.no_logging(), torch.inference_mode():
            logits = learn.get_preds(dl=loader, act=fv.noop)[0]
    finally:
        hook.remove()
    features = torch.cat(seen)
    return logits.double().numpy(), (features.mean((2, 3)) if features.ndim == 4 else features).numpy()
