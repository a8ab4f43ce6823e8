"""The exported model in 8-bit integers. On processors that multiply these four at a time, a run takes half the time. It
is kept unless held-out pictures say that it costs something. No clock decides that, so the same model makes the same
files."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx

from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import LabelRow
from greenr_luigi.evaluation import calibration, comparison
from greenr_luigi.evaluation.calibration import Ints
from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.export.answers import answers
from greenr_luigi.export.model_card import HeldOut, ModelCard, Quantization
from greenr_luigi.inference import is_answer
from greenr_luigi.kept import digest_of
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import TAKEN
from greenr_luigi.sources import drawn
from greenr_luigi.staleness import regular
from greenr_luigi.training import body_onnx, embedding

NAME = "model.int8.onnx"
#: By whose versions it may differ from the same floats.
LIBRARIES = ("onnxruntime", "onnx", "numpy", "pillow")
#: As it was loaded, whatever lies there by the time it runs.
CODE = [regular.read(Path(file)) for file in (__file__, drawn.__file__)]
#: How many drawings tell the range of each layer's values, and how many held-out pictures are compared at most.
DRAWINGS, COMPARED_PICTURES = 100, 300
#: How many of the first convolutions stay in float32: there, on large maps of few channels, little is gained and most
#: is lost (docs/benchmarks-appendix.md).
FLOAT_FIRST = 3
#: With fewer ReLUs a convolution, a network is slower in integers, since it goes back to floats around each other
#: activation (docs/benchmarks-appendix.md: 0.68 or more in all that gain much, 0.32 or less in the others).
RELUS = 0.5
#: What integers may cost on pictures that the model did not learn from: how many these are at least, and by how much
#: they may be worse, in error, loss (nats) and coverage. A single picture, more wrong or less answered, is no cost.
LEAST_PICTURES = 50
MORE_ERROR, MORE_LOSS, LESS_COVERAGE = 0.005, 0.02, 0.02


def offer(
    exported: Path,
    make: Callable[[], bytes | None],
    card: ModelCard,
    dataset: Path,
    root: Path | None = None,
) -> Quantization:
    """Write `model.int8.onnx` beside the folder's `model.onnx`, if the network gains by it and it costs nothing on the
    pictures of a SplitDataset folder that the model did not learn from. `make` gives what is to be written; None for a
    network that would not gain. `root`: a data root, where features stay (answers.py)."""
    place = exported / NAME
    # By their content, which draws them: one that comes or goes changes no more than one of them.
    rows = sorted(pixels.read_rows(dataset, "test", "valid"), key=lambda row: row.sha256)
    held_out = rows[:COMPARED_PICTURES]
    if len(held_out) < LEAST_PICTURES:
        return Quantization(False, f"{len(held_out)} held-out pictures, fewer than {LEAST_PICTURES}")
    if not (integers := make()):
        return Quantization(False, "few of its layers would gain")
    place.write_bytes(integers)
    compared = compare(exported / "model.onnx", place, card, dataset, held_out, root)
    if not compared.offered:
        place.unlink()
    return compared


def kept(root: Path | None, body: bytes, image_size: int) -> bytes | None:
    """As `quantized`, or what that was before under this root."""
    versions = {name: version(name) for name in LIBRARIES}
    digest = digest_of(hashlib.sha256(body).hexdigest(), image_size, door.VERSION, CODE, versions)
    return body_onnx.remembered(root, digest, lambda: quantized(body, image_size)) or None


def quantized(body: bytes, image_size: int) -> bytes:
    """The ONNX file of a body with its convolutions in 8-bit integers. Weights have a scale for each output channel,
    values one for each layer, from the ranges that drawings give them (static quantization; Jacob et al., "Quantization
    and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). Drawings, so that it
    is the same whatever a data set holds; photographs would do no better (docs/benchmarks-appendix.md).

    Empty for a network that would gain nothing.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    graph = onnx.load_from_string(body).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    relus = sum(node.op_type in ("Relu", "Clip") for node in graph.node)
    if len(convolutions) <= FLOAT_FIRST or relus < RELUS * len(convolutions):
        return b""
    drawings = ({embedding.PIXELS: picture[None]} for picture in drawn_pixels(image_size))
    root, silent = logging.getLogger(), logging.NullHandler()
    # It logs advice by logging.warning(), which sets up a handler where there is none: Luigi's lines would come twice.
    root.addHandler(silent)
    try:
        with tempfile.TemporaryDirectory() as folder:
            floats, integers = Path(folder, "floats.onnx"), Path(folder, "integers.onnx")
            floats.write_bytes(body)
            quantize_static(
                floats,
                integers,
                SimpleNamespace(get_next=lambda: next(drawings, None)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Clip", "Relu"],
                nodes_to_exclude=convolutions[:FLOAT_FIRST],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                # A mean of the pictures' ranges: one odd picture does not coarsen all others.
                extra_options={"CalibMovingAverage": True},
            )
            return regular.read(integers)
    finally:
        root.removeHandler(silent)


def drawn_pixels(image_size: int) -> Iterator[pixels.Pixels]:
    """Of DRAWINGS flowers of as many kinds on as many lawns, uint8 (image_size, image_size, 3)."""
    for number in range(DRAWINGS):
        data = drawn.encoded(f"flower {number % 10}", number)
        yield door.square(door.open_picture(data, image_size, terms=TAKEN), image_size)


def compare(
    floats: Path,
    integers: Path,
    card: ModelCard,
    dataset: Path,
    rows: Sequence[LabelRow],
    root: Path | None = None,
) -> Quantization:
    """What the integers cost and change on pictures of a data set, and whether they are offered. The difference of two
    answers is the total variation distance: half the sum of the differences over the classes."""
    labels = np.array([card.classes.index(row.label) for row in rows], np.int64)
    pictures = [dataset / row.file for row in rows]
    (before, said_before), (after, said_after) = (
        run(model, card, pictures, root) for model in (floats, integers)
    )
    in_floats, in_integers = _held_out(before, said_before, labels), _held_out(after, said_after, labels)
    right_before, right_after = (one.argmax(1) == labels for one in (before, after))
    compared = comparison.compare([row.file for row in rows], right_after, right_before)
    difference = np.abs(before - after).sum(1) / 2
    why = cost(in_floats, in_integers, len(rows), compared.p)
    return Quantization(
        offered=why is None,
        why=why,
        pictures=len(rows),
        floats=in_floats,
        integers=in_integers,
        error_interval=compared.interval,
        labels_changed=int((before.argmax(1) != after.argmax(1)).sum()),
        answers_changed=int((said_before != said_after).sum()),
        mean_difference=float(difference.mean()),
        largest_difference=float(difference.max()),
    )


def run(model: Path, card: ModelCard, pictures: Sequence[Path], root: Path | None) -> tuple[Features, Ints]:
    """Probabilities (pictures, classes), and the number of the class that each picture's answer names, -1 for none."""
    probabilities, familiarity = answers(model, card, pictures, root)
    answered = is_answer(probabilities.max(1), familiarity, card.threshold, card.familiarity)
    return probabilities, np.where(answered, probabilities.argmax(1), -1)


def _held_out(probabilities: Features, answers: Ints, labels: Ints) -> HeldOut:
    return HeldOut(
        error=float((probabilities.argmax(1) != labels).mean()),
        loss=calibration.negative_log_likelihood(probabilities.astype(np.float64), labels),
        coverage=float((answers >= 0).mean()),
    )


def cost(floats: HeldOut, integers: HeldOut, pictures: int, p: float) -> str | None:
    """What integers cost too much of on so many pictures, in words; None if nothing. `p`: how probable it is, if both
    are equally good, that integers lose as much."""
    one = 1 / pictures
    for what, more, most in (
        ("error", integers.error - floats.error, max(MORE_ERROR, one)),
        ("loss", integers.loss - floats.loss, MORE_LOSS),
        ("pictures without an answer", floats.coverage - integers.coverage, max(LESS_COVERAGE, one)),
    ):
        # Rounding makes no difference of one picture larger than one. Not ">": that would let NaN pass.
        if not more <= most + 1e-9:
            words = f"{more:.3f} nats" if what == "loss" else f"{100 * more:.1f} points"
            return f"{words} more {what} on {pictures} held-out pictures"
    if integers.error > floats.error and p < comparison.SIGNIFICANCE:
        return f"surely more error on {pictures} held-out pictures (McNemar p = {p:.2g})"
    return None
