"""The exported model in 8-bit integers: half the time of a run on processors that multiply them four at a time, and
kept only if it still says what the floats say. No clock has a say in it: the same model makes the same files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime

from greenr_luigi.dataset import pixels
from greenr_luigi.evaluation.calibration import Floats

NAME = "model.int8.onnx"
#: So many training pictures tell the range of each layer's values, and at most so many others are compared.
CALIBRATION_PICTURES, COMPARED_PICTURES = 100, 300
#: Convolutions at the picture's end that stay in float32: large maps of few channels, where little is gained and
#: most is lost (docs/benchmarks.md).
FLOAT_FIRST = 3
#: So many ReLUs a convolution, or the network is slower in integers: between other activations it goes back to floats
#: each time (docs/benchmarks.md: 0.68 or more in all that gain much, 0.32 or less in the others).
RELUS = 0.5
#: What is asked of the integers on pictures that the model did not learn from: how many these must be, the share with
#: the same label, the share with the same answer ("I can't tell" is one), and the mean difference between the
#: probabilities of a picture. A single picture on the border may move by more.
LEAST_PICTURES = 50
SAME_LABELS = 0.99
SAME_ANSWERS = 0.95
MEAN_DIFFERENCE = 0.01


class Limits(NamedTuple):
    """The least top probability, and the least familiarity, of an answer."""

    threshold: float
    familiarity: float


class _Calibration:
    """A picture at a time, as onnxruntime.quantization wants them."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.batches: Iterator[pixels.Pixels] = pixels.batches(paths, size, 1)

    def get_next(self) -> dict[str, pixels.Pixels] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def offer(
    exported: Path, training: Sequence[Path], held_out: Sequence[Path], image_size: int, limits: Limits
) -> dict[str, Any]:
    """Write `model.int8.onnx` beside the folder's `model.onnx`, if the network gains by it and its answers agree with
    the floats' on pictures that the model did not learn from. Returns what model.json says of it: `offered`, and what
    `compare` found or `why` it was not asked."""
    place = exported / NAME
    if len(held_out) < LEAST_PICTURES:
        return {"offered": False, "why": f"{len(held_out)} held-out pictures, fewer than {LEAST_PICTURES}"}
    if not quantize(exported / "model.onnx", pixels.some(training, CALIBRATION_PICTURES), image_size, place):
        return {"offered": False, "why": "few of its layers would gain"}
    compared = pixels.some(held_out, COMPARED_PICTURES)
    said = compare(exported / "model.onnx", place, compared, image_size, limits)
    if not worthwhile(said):
        place.unlink()
    return {"offered": worthwhile(said)} | said


def quantize(model: Path, training: Sequence[Path], image_size: int, out: Path) -> bool:
    """Write `out`, the ONNX file `model` with the convolutions of its body in 8-bit integers: weights a scale an
    output channel, values a scale a layer, whose ranges come from `training` pictures (static quantization; Jacob et
    al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).

    False, and no file, for a network that would gain nothing.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    graph = onnx.load(model).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    relus = sum(node.op_type in ("Relu", "Clip") for node in graph.node)
    # The last is the heat, and so the answer.
    chosen = convolutions[FLOAT_FIRST:-1]
    if not chosen or relus < RELUS * len(convolutions):
        return False
    root, silent = logging.getLogger(), logging.NullHandler()
    # It logs advice by logging.warning(), which would set up a handler and have Luigi's lines printed twice.
    root.addHandler(silent)
    try:
        quantize_static(
            model,
            out,
            _Calibration(training, image_size),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Clip", "Relu"],
            nodes_to_exclude=[name for name in convolutions if name not in chosen],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # A mean of the pictures' ranges: one odd picture does not coarsen all others.
            extra_options={"CalibMovingAverage": True},
        )
    finally:
        root.removeHandler(silent)
    return True


def compare(
    model: Path, quantized: Path, held_out: Sequence[Path], image_size: int, limits: Limits
) -> dict[str, Any]:
    """What the integers change on pictures: `pictures`, how many got another likeliest label (`labels_changed`) or
    another answer (`answers_changed`), and `mean_difference` and `largest_difference` between the probabilities of a
    picture, 0 to 1: the total variation distance, half the sum over the classes."""
    floats, integers = (_asked(file, held_out, image_size) for file in (model, quantized))
    difference = np.abs(floats[0] - integers[0]).sum(1) / 2
    return {
        "pictures": len(held_out),
        "labels_changed": int((floats[0].argmax(1) != integers[0].argmax(1)).sum()),
        "answers_changed": int((_answers(*floats, limits) != _answers(*integers, limits)).sum()),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
    }


def _asked(model: Path, files: Sequence[Path], image_size: int) -> tuple[Floats, Floats]:
    """Probabilities (n, classes) and familiarity (n,) of the pictures."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = [
        session.run(["probabilities", "familiarity"], {"pixels": batch})
        for batch in pixels.batches(files, image_size, 1)
    ]
    return np.concatenate([p for p, _ in found]), np.concatenate([f for _, f in found])


def _answers(
    probabilities: Floats, familiarity: Floats, limits: Limits
) -> np.ndarray[Any, np.dtype[np.intp]]:
    """The number of the class that each picture is given; -1 for "I can't tell"."""
    tells = (probabilities.max(1) >= limits.threshold) & (familiarity >= limits.familiarity)
    return np.where(tells, probabilities.argmax(1), -1)


def worthwhile(said: dict[str, Any]) -> bool:
    """Whether what `compare` found is little enough to serve from."""
    return bool(
        said["labels_changed"] <= (1 - SAME_LABELS) * said["pictures"]
        and said["answers_changed"] <= (1 - SAME_ANSWERS) * said["pictures"]
        and said["mean_difference"] <= MEAN_DIFFERENCE
    )
