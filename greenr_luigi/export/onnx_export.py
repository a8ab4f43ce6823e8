"""A trained model as files that others can use: for fastai, for ONNX Runtime, and the model card.

The export fails unless fastai and ONNX Runtime say the same of the same pictures (parity.py). A version in 8-bit
integers is kept only if it says what the floats say (quantization.py)."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from torch import nn

from greenr_luigi import contracts
from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.evaluation.metrics import Measured, Metrics
from greenr_luigi.export import model_card, quantization
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.export.parity import check_parity
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import MIN_SIDE
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import regular
from greenr_luigi.training.architectures import load_model
from greenr_luigi.training.libraries import fv

OPSET = 18
#: How many pictures both are asked about at most.
PARITY_PICTURES = 16
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "onnx", "onnxruntime", "pillow", "numpy")


class Served(nn.Module):
    """The model as it is served, from uint8 pixels (n, S, S, 3) to probabilities (n, classes), heat (n, classes, h, w)
    and familiarity (n,), the cosine of the pooled features with the nearest of `centers` (classes, features).

    `model` is a body and a head. The body gives features (n, features, h, w), or (n, features) where it pools by
    itself. The head must average them over locations and then be linear in them: one BatchNorm1d, one Linear layer,
    and beside these only what does nothing in evaluation mode or only changes the shape (pooling, Flatten, Dropout).

    Heat is that head applied at each location: its BatchNorm folded into its Linear layer, as a 1 x 1 convolution.
    Its mean over locations is the class's logit (class activation maps: Zhou et al., "Learning Deep Features for
    Discriminative Localization", CVPR 2016).
    """

    mean: torch.Tensor
    std: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    centers: torch.Tensor

    def __init__(
        self, model: nn.Sequential, mean: list[float], std: list[float], temperature: float, centers: Features
    ) -> None:
        super().__init__()
        body, head = model[0], model[1]
        norm = next(m for m in head.children() if isinstance(m, nn.BatchNorm1d))
        linear = next(m for m in head.children() if isinstance(m, nn.Linear))
        assert norm.running_var is not None and norm.running_mean is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = linear.weight @ (norm.bias - scale * norm.running_mean)
        self.body = body
        self.register_buffer("weight", (linear.weight * scale).detach()[:, :, None, None])
        self.register_buffer("bias", (bias if linear.bias is None else bias + linear.bias).detach())
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer("std", 1 / (255 * torch.tensor(std))[:, None, None])
        self.register_buffer("mean", -(torch.tensor(mean) / torch.tensor(std))[:, None, None])
        self.register_buffer("centers", torch.from_numpy(centers).T.contiguous())
        self.temperature = temperature

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = self.body(pixels.permute(0, 3, 1, 2).float() * self.std + self.mean)
        if features.ndim == 2:
            features = features[:, :, None, None]
        heat = nn.functional.conv2d(features, self.weight, self.bias)
        cosines = nn.functional.normalize(features.mean((2, 3))) @ self.centers
        return torch.softmax(heat.mean((2, 3)) / self.temperature, 1), heat, cosines.amax(1)


def export(
    dataset: Path,
    model: Path,
    evaluation: Path,
    out: Path,
    *,
    on_progress: OnProgress,
    min_side: int = MIN_SIDE,
) -> ModelCard:
    """From the folders of SplitDataset, TrainModel and EvaluateModel, write into the folder `out`: `export.pkl` (a
    fastai Learner), `model.onnx`, `model.json` and, where it agrees, `model.int8.onnx`. Returns the model card, which
    is what `model.json` holds.

    Raises ParityError unless the two models agree (parity.check_parity).
    """
    on_progress(0, "loading the model")
    learn, training = load_model(model)
    metrics = contracts.read(evaluation / "metrics.json", Metrics)
    pickled = pickled_learner(learn)
    (out / "export.pkl").write_bytes(pickled)
    on_progress(0.3, "writing model.onnx")
    centers = np.load(evaluation / "centers.npy")
    served = Served(learn.model, training.mean, training.std, metrics.temperature, centers).eval()
    write_onnx(served, training.image_size, out / "model.onnx")
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
    )
    on_progress(0.6, "checking that fastai and ONNX Runtime agree")
    held_out = [dataset / row.file for row in pixels.read_rows(dataset, "test", "valid")]
    pictures = pixels.evenly_spaced(held_out, PARITY_PICTURES)
    difference = check_parity(out, card, pictures, centers, pickled)
    on_progress(0.7, "trying 8-bit integers")
    card = replace(card, int8=quantization.offer(out, card, dataset))
    contracts.write(out / model_card.NAME, card)
    agreement = f"fastai and ONNX Runtime agree to {difference:.0e} on {len(pictures)} pictures"
    integers = "also" if (out / quantization.NAME).exists() else "not"
    on_progress(1, f"{agreement}; {integers} in 8-bit integers")
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


def write_onnx(served: Served, image_size: int, path: Path) -> None:
    """One file without others beside it, for any number of pictures at a time."""
    # With one picture the exporter takes the number for a constant (pytorch/pytorch#157621).
    example = torch.zeros((2, image_size, image_size, 3), dtype=torch.uint8)
    for module in served.modules():
        if hasattr(module, "inplace"):
            # The exporter takes an operation in place apart first, and the graph comes out the same.
            module.inplace = False  # type: ignore[assignment]
    with warnings.catch_warnings():
        # The exporter itself uses deprecated parts of torch.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            served,
            (example,),
            input_names=["pixels"],
            output_names=["probabilities", "heat", "familiarity"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={"pixels": {0: torch.export.Dim("pictures")}},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip_notes(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip_notes(model: onnx.ModelProto) -> None:
    """Take out the paths of source files that the exporter notes: they differ from machine to machine."""
    graph = model.graph
    parts = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.doc_string = ""
    for part in (model, *model.functions, *parts):
        del part.metadata_props[:]
