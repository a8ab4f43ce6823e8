"""A trained model as files that others can use: for fastai, for ONNX Runtime, and what must be known of it.

Nothing is exported that was not seen to agree: the stage fails unless fastai, plain from the export, and
ONNX Runtime say the same of the same pixels and of the same picture files. A version in 8-bit integers is an offer, and
is withdrawn unless it says what the floats say (quantization.py)."""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation.familiarity import Features, familiarity
from greenr_luigi.export import quantization
from greenr_luigi.pictures import door
from greenr_luigi.progress import OnProgress
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import load, write_json

FORMAT = 1
OPSET = 18
#: Largest difference of two probabilities between the two runtimes on the same pixels: float32 rounding.
SAME_PIXELS = 1e-4
#: As many pictures take part in the check from a file's bytes on.
PARITY_PICTURES = 16
LIBRARIES = ("torch", "torchvision", "timm", "fastai", "onnx", "onnxruntime", "pillow", "numpy")


class ParityError(RuntimeError):
    """Two runtimes that ought to hold the same model disagree about a picture."""


class Served(nn.Module):
    """The model as it is served, from uint8 pixels (n, S, S, 3) to probabilities (n, classes), heat (n, classes, h, w)
    and familiarity (n,), the cosine of the pooled features with the nearest of `centers` (classes, features).

    Heat is the head applied at each location: its BatchNorm folded into its Linear layer, as a 1 x 1
    convolution. Its mean over locations is the class's logit."""

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
        found = self.body(pixels.permute(0, 3, 1, 2).float() * self.std + self.mean)
        if found.ndim == 2:
            found = found[:, :, None, None]
        heat = nn.functional.conv2d(found, self.weight, self.bias)
        near = nn.functional.normalize(found.mean((2, 3))) @ self.centers
        return torch.softmax(heat.mean((2, 3)) / self.temperature, 1), heat, near.amax(1)


def export(dataset: Path, model: Path, evaluation: Path, out: Path, *, on_progress: OnProgress) -> None:
    """Write `export.pkl` (a fastai Learner), `model.onnx`, `model.json` and, where it agrees, `model.int8.onnx`
    into the folder `out` from the folders of SplitDataset, TrainModel and EvaluateModel.

    Raises ParityError unless the two models agree on random and on real pixels, and from the bytes of real
    pictures."""
    on_progress(0, "loading the model")
    learn, info = load(model)
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    write_learner(learn, out / "export.pkl")
    on_progress(0.3, "writing model.onnx")
    centers = np.load(evaluation / "centers.npy")
    served = Served(learn.model, info["mean"], info["std"], metrics["temperature"], centers).eval()
    write_onnx(served, info["image_size"], out / "model.onnx")
    card = {name: info[name] for name in ("classes", "image_size", "mean", "std", "resize", "arch")} | {
        "format": FORMAT,
        "temperature": metrics["temperature"],
        "threshold": metrics["threshold"],
        "familiarity": metrics["familiarity"],
        "metrics": {
            name: metrics[name]
            for name in sorted(metrics)
            if name not in ("data", "reliability", "classes", "command")
        },
        "data": metrics["data"],
        "versions": {name: version(name) for name in LIBRARIES},
        "license": info["weights"]["license"],
        "weights": info["weights"]["source"],
    }
    write_json(out / "model.json", card)
    on_progress(0.6, "checking that fastai and ONNX Runtime agree")
    held_out = [dataset / row.file for row in pixels.rows(dataset, "test", "valid")]
    files = pixels.some(held_out, PARITY_PICTURES)
    worst = parity(out, files, centers)
    on_progress(0.7, "trying 8-bit integers")
    training = [dataset / row.file for row in pixels.rows(dataset, "train")]
    limits = quantization.Limits(metrics["threshold"], metrics["familiarity"])
    card["int8"] = quantization.offer(out, training, held_out, info["image_size"], limits)
    write_json(out / "model.json", card)
    integers = "also" if card["int8"]["offered"] else "not"
    on_progress(
        1,
        f"fastai and ONNX Runtime agree to {worst:.0e} on {len(files)} pictures; {integers} in 8-bit integers",
    )


def write_learner(learn: Any, path: Path) -> None:
    """The Learner as `learn.export` writes it. Nothing of this project is in it: fastai and timm alone can
    load it.

    fastai keeps the state of its loaders' random numbers in there, drawn anew as the export empties them.
    """
    fv.set_seed(0)
    for loader in learn.dls.loaders:
        loader.rng.seed(0)
    learn.export(path.resolve())


def write_onnx(served: Served, image_size: int, path: Path) -> None:
    """One file, any number of pictures at a time. What the exporter notes of its own source files is left
    out: it names folders of this machine and would change the bytes."""
    # With one example the exporter takes the number for a constant (pytorch/pytorch#157621).
    example = torch.randint(
        0, 256, (2, image_size, image_size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with warnings.catch_warnings():
        # The exporter's own use of deprecated parts of torch.
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
    proto = program.model_proto
    clean(proto.graph)
    del proto.metadata_props[:]
    for function in proto.functions:
        del function.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def clean(graph: onnx.GraphProto) -> None:
    """Leave out notes and documentation strings of a graph and its parts."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def parity(folder: Path, files: list[Path], centers: Features) -> float:
    """The largest difference between the probabilities of `export.pkl` in fastai's own pipeline and of
    `model.onnx`.

    Raises ParityError if it, or one of heat or of familiarity (with `centers`), exceeds SAME_PIXELS: on random pixels,
    on each picture alone and in a batch.
    """
    with warnings.catch_warnings():
        # load_learner warns that a pickle can run code; this one was written a moment ago.
        warnings.simplefilter("ignore", UserWarning)
        learn = fv.load_learner(folder / "export.pkl")
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    running = session(folder / "model.onnx")
    size = card["image_size"]
    noise = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    opened = [door.open_picture(file.read_bytes(), at_least=size) for file in files]
    squares = [noise, *(door.square(image, size)[None] for image in opened)]
    ours = np.concatenate([running.run(["probabilities"], {"pixels": square})[0] for square in squares])
    batch = np.concatenate(squares)
    together, heat, near = running.run(["probabilities", "heat", "familiarity"], {"pixels": batch})
    images = [*(fv.PILImage.create(square) for square in noise), *(fv.PILImage(image) for image in opened)]
    loader = learn.dls.test_dl(images, num_workers=0, bs=8)
    with learn.no_bar(), learn.no_logging(), torch.inference_mode():
        raw = learn.get_preds(dl=loader, act=fv.noop)[0].numpy()
        seen = torch.cat([learn.model.eval()[0](x) for (x,) in loader])
    pooled = (seen.mean((2, 3)) if seen.ndim == 4 else seen).numpy()
    theirs = torch.softmax(torch.tensor(raw) / card["temperature"], 1).numpy()
    logits = heat.mean((2, 3))
    checks = {
        "fastai and ONNX Runtime": np.abs(theirs - ours),
        "ONNX Runtime alone and in a batch": np.abs(together - ours),
        "the mean of the heat and fastai's logits (relative)": np.abs(logits - raw)
        / max(1.0, np.abs(raw).max()),
        "familiarity in fastai and in ONNX Runtime": np.abs(familiarity(pooled, centers) - near)[:, None],
    }
    names = [*(f"random pixels {i}" for i in range(len(noise))), *map(str, files)]
    for what, difference in checks.items():
        if not difference.max() <= SAME_PIXELS:
            name = names[int(difference.max(1).argmax())]
            raise ParityError(
                f"{what} differ by {difference.max():.2g} on {name}, expected at most {SAME_PIXELS}; "
                "nothing is released; "
                f"compare the versions of {', '.join(LIBRARIES)} with those in model.json of a release that "
                "worked"
            )
    if list(learn.dls.vocab) != card["classes"]:
        raise ParityError(f"export.pkl has the classes {list(learn.dls.vocab)}, expected {card['classes']}")
    return float(checks["fastai and ONNX Runtime"].max())
