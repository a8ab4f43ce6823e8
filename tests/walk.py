"""Small data sets and one trained, judged and exported model that several tests look at; made once a test run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw

from greenr_luigi.dataset.rows import SplitRow
from greenr_luigi.pictures import labels, manifest
from greenr_luigi.training.saved_model import Training, Weights
from tests import shared
from tests.progress import quiet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from greenr_luigi.training.architectures import Architecture

    FloatArray = npt.NDArray[np.float32]

SIZE = 64


class Walk(NamedTuple):
    dataset: Path
    model: Path
    evaluation: Path
    export: Path


def drawing(label: str, number: int) -> Image.Image:
    """Label `disc` shows a disc, any other as many bars as its name has letters; place and colours vary."""
    shade = (40 * number) % 120
    image = Image.new("RGB", (80 + number % 7, 72), (shade, 90, 160 - shade))
    draw = ImageDraw.Draw(image)
    x = 10 + 3 * (number % 8)
    if label == "disc":
        draw.ellipse((x, 14, x + 36, 50), fill=(250, 220, 20 + number))
    else:
        for bar in range(len(label)):
            draw.rectangle((x + 9 * bar, 8, x + 9 * bar + 4, 62), fill=(20, 180 + number, 60))
    return image


def split(folder: Path, pictures: Iterable[tuple[str, str, bytes]]) -> Path:
    """Write a SplitDataset folder of (label, side, bytes of a JPEG) as docs/architecture.md has it."""
    rows = []
    for label, side, data in pictures:
        sha256 = hashlib.sha256(data).hexdigest()
        file = f"{side}/{labels.folder_name(label)}/{sha256[:16]}.jpg"
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
        rows.append(SplitRow(file, label, sha256, "0" * 16, 80, 72, len(data), "sample", side=side))
    manifest.write_csv(folder / "manifest.csv", rows, SplitRow)
    return folder


def drawn(folder: Path, labels: tuple[str, ...] = ("disc", "three"), each: int = 12) -> Path:
    """A SplitDataset folder of drawings, half of each label to learn from, a quarter each to choose and to
    test."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for label in labels:
        for number in range(each):
            file = folder / "drawing.jpg"
            drawing(label, number).save(file, quality=90)
            made.append((label, ("train", "valid", "train", "test")[number % 4], file.read_bytes()))
    file.unlink()
    return split(folder, made)


def settings(architecture: Architecture, image_size: int) -> Training:
    """What a body needs to be told to look at pictures."""
    weights = Weights(architecture.weights, architecture.license)
    mean, std = list(architecture.mean), list(architecture.std)
    return Training(architecture.name, [], image_size, mean, std, "head", epochs=1, seed=0, weights=weights)


def walk() -> Walk:
    """The drawings' model, all the way. Not to be changed."""
    folder = shared.once("walk", make)
    return Walk(*(folder / name for name in Walk._fields))


def make(folder: Path) -> None:
    from greenr_luigi.evaluation import evaluate
    from greenr_luigi.export import onnx_export
    from greenr_luigi.training import train

    folders = Walk(*(folder / name for name in Walk._fields))
    for output in folders:
        output.mkdir()
    drawn(folders.dataset)
    # What a stage does not name in `uses_notes` is not there for it.
    (folders.dataset / "manifest.csv").rename(folders.dataset / "labels.csv")
    how = train.Hyperparameters("tf_efficientnet_lite0", epochs=6, seed=3, image_size=SIZE)
    train.train(folders.dataset, folders.model, how, on_progress=quiet)
    evaluate.evaluate(
        folders.dataset, folders.model, folders.evaluation, on_progress=quiet, command="luigi X"
    )
    report = (folders.evaluation / "report.html").rename(folder / "report.html")
    onnx_export.export(folders.dataset, folders.model, folders.evaluation, folders.export, on_progress=quiet)
    report.rename(folders.evaluation / "report.html")
    (folders.dataset / "labels.csv").rename(folders.dataset / "manifest.csv")


def write_with_other_head(path: Path, change: Callable[[FloatArray, FloatArray], None]) -> None:
    """The walk's model.onnx after `change` to the weight (classes, features, 1, 1) and the bias (classes,) of its last
    layer; an export of a changed model would take seconds."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(walk().export / "model.onnx")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(tensors[name]).copy() for name in ("weight", "bias"))
    change(weight, bias)
    for name, values in (("weight", weight), ("bias", bias)):
        tensors[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path)
