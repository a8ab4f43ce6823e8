"""The body of a model as ONNX, which ONNX Runtime runs twice as fast as torch on a processor: from pixels to features.

    <root>/bodies/<16 hex digits>-<16 hex digits>.onnx    named by what it was made from, and by its content; also in
                                                          8-bit integers (export/quantization.py)

Training takes its features from this file, and what serves is the same file with a head behind it
(export/onnx_export.py). To make it takes seconds, so it is kept for all models that stand on this body.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn

from greenr_luigi import files
from greenr_luigi.kept import BODIES, digest_of, versions
from greenr_luigi.pictures import door
from greenr_luigi.staleness import regular
from greenr_luigi.training.embedding import MAPS, PIXELS, POOLED
from greenr_luigi.training.saved_model import Training

OPSET = 18
#: By whose versions the file may differ.
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "onnx", "onnxscript", "numpy")
#: As it was loaded, whatever lies there by the time it runs.
CODE = regular.read(Path(__file__))


class Body(nn.Module):
    """A body from uint8 pixels (n, S, S, 3) on: features (n, features, h, w), and these averaged over locations, (n,
    features). A body that pools by itself has one location."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, body: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.body = body
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer("std", 1 / (255 * torch.tensor(std))[:, None, None])
        self.register_buffer("mean", -(torch.tensor(mean) / torch.tensor(std))[:, None, None])

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.body(pixels.permute(0, 3, 1, 2).float() * self.std + self.mean)
        if features.ndim == 2:
            features = features[:, :, None, None]
        return features, features.mean((2, 3))


def digest(body: nn.Module, training: Training) -> str:
    """Of all that shapes the features that a body finds in a file: layers, weights, size, libraries, and the door's
    VERSION, which says whether a file gives other pixels."""
    weights = hashlib.sha256()
    for name, tensor in body.state_dict().items():
        weights.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest_of(
        weights.hexdigest(),
        repr(body),
        training.arch,
        training.image_size,
        training.mean,
        training.std,
        door.VERSION,
        CODE,
        versions(LIBRARIES),
    )


def kept(root: Path | None, body: nn.Module, training: Training) -> bytes:
    """The ONNX file of a body: `written`, or what that was before under this root."""
    return remembered(root, digest(body, training), lambda: written(body, training))


def remembered(root: Path | None, digest: str, make: Callable[[], bytes]) -> bytes:
    """The file of a digest, which is made where there is none under this root, or none that is whole."""
    folder = root and root / BODIES
    if folder and (data := _found(folder, digest)) is not None:
        return data
    data = make()
    if folder:
        # What is not kept costs time the next time, and no run its model.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            files.refuse_link(folder)
            files.write(folder / f"{digest}-{_content(data)}.onnx", data)
    return data


def _found(folder: Path, digest: str) -> bytes | None:
    for path in sorted(folder.glob(f"{digest}-*.onnx")):
        # It may be a pipe, or another user's.
        with contextlib.suppress(OSError):
            data = regular.read(path)
            if path.stem == f"{digest}-{_content(data)}":
                # By this it is told which of them were used last.
                with contextlib.suppress(OSError):
                    path.touch()
                return data
    return None


def _content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def written(body: nn.Module, training: Training) -> bytes:
    """The ONNX file of a body. It gives any number of pictures at a time."""
    # A copy: the body itself may go on to be trained.
    network = Body(copy.deepcopy(body), training.mean, training.std).cpu().eval()
    # With one picture the exporter takes the number for a constant (pytorch/pytorch#157621).
    example = torch.zeros((2, training.image_size, training.image_size, 3), dtype=torch.uint8)
    for module in network.modules():
        if hasattr(module, "inplace"):
            # The exporter takes an operation in place apart first, and the graph comes out the same.
            module.inplace = False  # type: ignore[assignment]
    with warnings.catch_warnings():
        # The exporter itself uses deprecated parts of torch.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[PIXELS],
            output_names=[MAPS, POOLED],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={PIXELS: {0: torch.export.Dim("pictures")}},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    strip_notes(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def strip_notes(model: onnx.ModelProto) -> None:
    """Take out the paths of source files that the exporter notes: they differ from machine to machine."""
    graph = model.graph
    parts = (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.doc_string = ""
    for part in (model, *model.functions, *parts):
        del part.metadata_props[:]
