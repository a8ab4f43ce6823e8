"""The exported model in 8-bit integers. On processors that multiply these four at a time, a run takes half the time. It
is kept unless held-out pictures say that it costs something: those of a cross-validation, of which each fold has a head
that has not learned from it, or of the side "valid". Never those of the side "test", which choose nothing. No clock
decides that, so the same model makes the same files."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx

from greenr_luigi.dataset import pixels
from greenr_luigi.dataset.rows import LabelRow, class_numbers, read_labels
from greenr_luigi.evaluation import calibration, comparison
from greenr_luigi.evaluation.calibration import Ints
from greenr_luigi.evaluation.familiarity import Features
from greenr_luigi.export.answers import Answers, by_features
from greenr_luigi.export.assembly import Parts
from greenr_luigi.export.model_card import HeldOut, ModelCard, Quantization
from greenr_luigi.inference import is_answer
from greenr_luigi.kept import digest_of, versions
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import TAKEN
from greenr_luigi.sources import drawn
from greenr_luigi.staleness import regular
from greenr_luigi.training import body_onnx, embedding, folds

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
#: What integers may cost on held-out pictures: how many these are at least, and by how much they may be worse, in
#: error, loss (nats) and coverage. A single picture, more wrong or less answered, is no cost.
LEAST_PICTURES = 50
MORE_ERROR, MORE_LOSS, LESS_COVERAGE = 0.005, 0.02, 0.02


@dataclass(frozen=True)
class Judge:
    """Pictures, and a model that has not learned from them."""

    parts: Parts
    rows: Sequence[LabelRow]


def judges(model: Path, evaluation: Path, dataset: Path, parts: Parts) -> list[Judge]:
    """By the folders of TrainModel, EvaluateModel and SplitDataset: the folds of a cross-validation, each with its own
    head; without one, the side "valid" and the model, which is made of the `parts`."""
    judged = folds.load(model)
    sides = ("train", "valid") if judged else ("valid",)
    rows = [row for side in sides for row in read_labels(dataset, side)]
    fold = judged.fold if judged else np.zeros(len(rows), np.int64)
    # By their content, which draws them: one that comes or goes changes no more than one of them.
    order = sorted(np.flatnonzero(fold != folds.ALWAYS), key=lambda i: rows[i].sha256)[:COMPARED_PICTURES]
    of_folds = np.load(evaluation / "fold_centers.npy") if judged else None
    found = []
    for k in sorted({int(fold[i]) for i in order}):
        if judged and of_folds is not None:
            head = judged.head(k)
            parts = parts._replace(weight=head.weight, bias=head.bias, centers=of_folds[k])
        found.append(Judge(parts, [rows[i] for i in order if fold[i] == k]))
    return found


def offered(
    judges: Sequence[Judge],
    make: Callable[[], bytes | None],
    card: ModelCard,
    dataset: Path,
    root: Path | None = None,
) -> tuple[bytes | None, Quantization]:
    """The body in integers, which `make` gives, if the network gains by it (None: it does not) and it costs nothing on
    the pictures of the `judges`, of a SplitDataset folder. `root`: a data root, where features stay."""
    rows = [row for judge in judges for row in judge.rows]
    if len(rows) < LEAST_PICTURES:
        return None, Quantization(False, f"{len(rows)} held-out pictures, fewer than {LEAST_PICTURES}")
    if not (integers := make()):
        return None, Quantization(False, "few of its layers would gain")
    before, after = (asked(judges, body, card, dataset, root) for body in (judges[0].parts.body, integers))
    compared = compare(before, after, card, rows)
    return integers if compared.offered else None, compared


def asked(
    judges: Sequence[Judge], body: bytes, card: ModelCard, dataset: Path, root: Path | None = None
) -> Answers:
    """What the judges say of their pictures with such a body. Each picture passes it once."""
    pictures = [dataset / row.file for judge in judges for row in judge.rows]
    embedder = embedding.of_network(body, card.image_size, version=card.door_version)
    found = embedding.embedded(embedder, pictures, root, lambda fraction, words: None)
    ends = np.cumsum([len(judge.rows) for judge in judges])[:-1]
    said = [by_features(one.parts, some) for one, some in zip(judges, np.split(found, ends), strict=True)]
    probabilities, familiarity = map(np.concatenate, zip(*said, strict=True))
    return probabilities, familiarity


def kept(root: Path | None, body: bytes, image_size: int) -> bytes | None:
    """As `quantized`, or what that was before under this root."""
    content = hashlib.sha256(body).hexdigest()
    digest = digest_of(content, image_size, door.VERSION, CODE, versions(LIBRARIES))
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


def compare(floats: Answers, integers: Answers, card: ModelCard, rows: Sequence[LabelRow]) -> Quantization:
    """What integers cost and change on pictures, by what is said of them, and whether they are offered. The difference
    of two answers is the total variation distance: half the sum of the differences over the classes."""
    labels = np.array(class_numbers(rows, card.classes), np.int64)
    (before, said_before), (after, said_after) = (_said(one, card) for one in (floats, integers))
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


def _said(said: Answers, card: ModelCard) -> tuple[Features, Ints]:
    """Probabilities (pictures, classes), and the number of the class that each picture's answer names, -1 for none."""
    probabilities, familiarity = said
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
