"""A trained model as files that others can use: for fastai, for ONNX Runtime, and the model card.

The export fails unless fastai and ONNX Runtime say the same of the same pictures (parity.py). A version in 8-bit
integers is kept only if it says what the floats say (quantization.py)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from greenr_luigi import contracts
from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import read_labels
from greenr_luigi.evaluation.metrics import Measured, Metrics
from greenr_luigi.export import assembly, model_card, quantization
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.export.parity import check_parity
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import MIN_SIDE
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import regular
from greenr_luigi.training import body_onnx, linear_head
from greenr_luigi.training.architectures import load_model
from greenr_luigi.training.libraries import fv

#: How many pictures both are asked about at most.
PARITY_PICTURES = 16
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "onnx", "onnxruntime", "pillow", "numpy")


def export(
    dataset: Path,
    model: Path,
    evaluation: Path,
    out: Path,
    *,
    on_progress: OnProgress,
    min_side: int = MIN_SIDE,
    root: Path | None = None,
) -> ModelCard:
    """From the folders of SplitDataset, TrainModel and EvaluateModel, write into the folder `out`: `export.pkl` (a
    fastai Learner), `model.onnx`, `model.json` and, where it agrees, `model.int8.onnx`. Returns the model card, which
    is what `model.json` holds. `root`: a data root, where bodies as ONNX stay for the next time.

    Raises ParityError unless the two models agree (parity.check_parity).
    """
    on_progress(0, "loading the model")
    learn, training = load_model(model)
    metrics = contracts.read(evaluation / "metrics.json", Metrics)
    #: Told to who loads it with plain fastai.
    learn.made_by = {"arch": training.arch, "weights": training.weights.source, "recipe": training.recipe}
    pickled = pickled_learner(learn)
    (out / "export.pkl").write_bytes(pickled)
    on_progress(0.3, "writing model.onnx")
    centers = np.load(evaluation / "centers.npy")
    body = body_onnx.kept(root, learn.model[0], training)
    head = linear_head.folded(learn.model[1])
    parts = assembly.Parts(body, head.weight, head.bias, metrics.temperature, centers)
    (out / "model.onnx").write_bytes(assembly.assembled(parts))
    card = ModelCard(
        format=1,
        classes=training.classes,
        image_size=training.image_size,
        threshold=metrics.threshold,
        temperature=metrics.temperature,
        familiarity=metrics.familiarity,
        door=door.VERSION,
        min_side=min_side,
        mean=training.mean,
        std=training.std,
        resize=training.resize,
        arch=training.arch,
        metrics=msgspec.convert(metrics, Measured, from_attributes=True),
        data=metrics.data,
        versions={name: version(name) for name in LIBRARIES},
        license=training.weights.license,
        weights=training.weights.source,
        recipe=training.recipe,
        tried=training.tried,
    )
    on_progress(0.6, "checking that fastai and ONNX Runtime agree")
    pictures = [dataset / row.file for row in read_labels(dataset, "test", "valid")]
    pictures = pixels.evenly_spaced(pictures, PARITY_PICTURES)
    difference = check_parity(out, card, pictures, centers, pickled)
    on_progress(0.7, "trying 8-bit integers")
    judges = quantization.judges(model, evaluation, dataset, parts)
    make = partial(quantization.kept, root, body, training.image_size)
    integers, compared = quantization.offered(judges, make, card, dataset, root)
    if integers:
        (out / quantization.NAME).write_bytes(assembly.assembled(parts._replace(body=integers)))
    card = replace(card, int8=compared)
    contracts.write(out / model_card.NAME, card)
    agreement = f"fastai and ONNX Runtime agree to {difference:.0e} on {len(pictures)} pictures"
    offered = "also" if compared.offered else "not"
    on_progress(1, f"{agreement}; {offered} in 8-bit integers")
    return card


def pickled_learner(learn: Any) -> bytes:
    """export.pkl: the Learner as `learn.export` writes it. Nothing of this project is in it, so fastai and timm alone
    can load it.

    The file holds the state of the loaders' random numbers, which the export draws anew: so from a seed."""
    fv.set_seed(0)
    for loader in learn.dls.loaders:
        loader.rng.seed(0)
    # In a folder that nobody else may write to: whoever loads a pickle runs what it says.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.pkl"
        learn.export(path)
        return regular.read(path)
