"""The exported model in 8-bit integers: half the time a picture on processors that multiply them four at a time, and
kept only if it still says what the floats say."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from greenr_luigi import pixels
from greenr_luigi.calibration import Floats

NAME = "model.int8.onnx"
#: So many training pictures tell the range of each layer's values, and at most so many others are compared.
CALIBRATION_PICTURES, COMPARED_PICTURES = 100, 300
#: Convolutions at the picture's end that stay in float32: large maps of few channels, where little is gained and
#: most is lost (docs/benchmarks.md).
FLOAT_FIRST = 3
#: What is asked of the integers on pictures that the model did not learn from: the share with the same label, and the
#: mean difference of a probability. A single picture on the border may move by more.
SAME_LABELS = 0.99
MEAN_DIFFERENCE = 0.01
#: How many times as quick they must be.
GAIN = 1.2


class _Calibration:
    """A picture at a time, as onnxruntime.quantization wants them."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.batches: Iterator[pixels.Pixels] = pixels.batches(paths, size, 1)

    def get_next(self) -> dict[str, pixels.Pixels] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def offer(
    exported: Path, training: Sequence[Path], held_out: Sequence[Path], image_size: int
) -> dict[str, Any]:
    """Write `model.int8.onnx` beside the folder's `model.onnx`, if it is faster here and its answers agree with the
    floats' on pictures that the model did not learn from. Returns what model.json says of it: `offered`, and what
    `compare` found."""
    place = exported / NAME
    if not quantize(exported / "model.onnx", pixels.some(training, CALIBRATION_PICTURES), image_size, place):
        return {"offered": False}
    said = compare(exported / "model.onnx", place, pixels.some(held_out, COMPARED_PICTURES), image_size)
    if not worthwhile(said):
        place.unlink()
    return {"offered": worthwhile(said)} | said


def quantize(model: Path, training: Sequence[Path], image_size: int, out: Path) -> bool:
    """Write `out`, the ONNX file `model` with the convolutions of its body in 8-bit integers: weights a scale an
    output channel, values a scale a layer, whose ranges come from `training` pictures (static quantization; Jacob et
    al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018).

    False, and no file, for a network without convolutions to gain from.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    graph = onnx.load(model).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    # The last is the heat, and so the answer.
    chosen = convolutions[FLOAT_FIRST:-1]
    if not chosen:
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


def compare(model: Path, quantized: Path, held_out: Sequence[Path], image_size: int) -> dict[str, Any]:
    """What the integers change on pictures: `pictures`, `labels_changed`, `mean_difference` and `largest_difference`
    of a probability; and `faster`, whether the quickest of their runs on this processor gains by GAIN.

    The time itself is left out: it would make each export another one.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # As a worker of the web classifier runs it.
    running = [
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for file in (model, quantized)
    ]
    found: list[list[Floats]] = [[], []]
    quickest = [math.inf, math.inf]
    for batch in pixels.batches(held_out, image_size, 1):
        for which, session in enumerate(running):
            began = time.perf_counter()
            found[which].append(session.run(["probabilities"], {"pixels": batch})[0])
            quickest[which] = min(quickest[which], time.perf_counter() - began)
    floats, integers = map(np.concatenate, found)
    difference = np.abs(floats - integers)
    return {
        "pictures": len(floats),
        "labels_changed": int((floats.argmax(1) != integers.argmax(1)).sum()),
        "mean_difference": float(difference.mean()),
        "largest_difference": float(difference.max()),
        "faster": quickest[0] >= GAIN * quickest[1],
    }


def worthwhile(said: dict[str, Any]) -> bool:
    """Whether what `compare` found is little enough to serve from, and quick enough to be worth it."""
    changed, mean = float(said["labels_changed"]), float(said["mean_difference"])
    agrees = changed <= (1 - SAME_LABELS) * said["pictures"] and mean <= MEAN_DIFFERENCE
    return agrees and bool(said["faster"])
