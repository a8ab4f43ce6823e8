"""A release in memory: loaded, tested on itself, and asked."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures.door import open_picture, square
from greenr_luigi.serving import releases

Floats = np.ndarray[Any, np.dtype[np.float32]]


#: What reading a model.json that anybody may have written, and running a graph that anybody may have, can raise.
UNUSABLE = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError)


class ModelError(GreenrError):
    """A release that cannot be served; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What the model sees in one picture."""

    #: The label with the highest probability.
    label: str
    #: Whether that probability reaches the model's threshold, and the picture is familiar.
    sure: bool
    #: Whether the picture is like those that the model has learned from.
    familiar: bool
    threshold: float
    #: Every class with its probability, the highest first.
    probabilities: tuple[tuple[str, float], ...]
    #: Where in the picture the evidence for `label` lies: float32, (h, w), 0 to 1.
    heat: np.ndarray[Any, np.dtype[np.float32]]
    #: The digest of the release that answered.
    release: str


@dataclass(frozen=True)
class Model:
    """One release, ready to answer; never changes."""

    digest: str
    classes: tuple[str, ...]
    size: int
    threshold: float
    #: The least familiarity that counts as familiar; None for a release that does not tell.
    familiarity: float | None
    about: dict[str, Any]
    session: Any
    #: What it computes in: "float32" or "int8".
    precision: str = "float32"

    def answer(self, data: bytes) -> Answer:
        """From a picture's bytes to the answer. Raises UnusablePicture."""
        return self.see(square(open_picture(data, at_least=self.size), self.size))

    def see(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Answer:
        """From pixels, uint8 (size, size, 3), to the answer."""
        probabilities, heat, near = self.run(pixels)
        familiar = near is None or float(near[0]) >= (self.familiarity or 0.0)
        order = np.argsort(-probabilities[0], kind="stable")
        top = int(order[0])
        ranked = tuple((self.classes[i], float(probabilities[0, i])) for i in order)
        return Answer(
            label=self.classes[top],
            sure=familiar and ranked[0][1] >= self.threshold,
            familiar=familiar,
            threshold=self.threshold,
            probabilities=ranked,
            heat=evidence(heat[0], top),
            release=self.digest,
        )

    def run(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[Floats, Floats, Floats | None]:
        """Probabilities (1, classes), heat (1, classes, h, w) and familiarity (1,), if the release tells it."""
        names = ["probabilities", "heat", *(["familiarity"] if self.familiarity is not None else [])]
        probabilities, heat, *near = self.session.run(names, {"pixels": pixels[None]})
        return probabilities, heat, near[0] if near else None


def evidence(heat: np.ndarray[Any, np.dtype[np.float32]], top: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Class activation maps (C, h, w) to the map of one class, (h, w), 0 to 1.

    Softmax sees only differences between classes, so the map is taken against the mean of all; what speaks
    against the class is cut off. After B. Zhou et al., "Learning Deep Features for Discriminative
    Localization", CVPR 2016.
    """
    map_: np.ndarray[Any, np.dtype[np.float32]] = np.maximum(heat[top] - heat.mean(axis=0), 0)
    highest = float(map_.max())
    return map_ / np.float32(highest) if highest > 0 else map_


def fast_integers() -> bool:
    """Whether this processor multiplies 8-bit integers four at a time (VNNI), which halves a run of the model;
    without it they are slower than floats (docs/benchmarks.md)."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # Not Linux.
        return False


def load(store: Path, digest: str, int8: bool = True) -> Model:
    """Load a release and test it. Raises ModelError or ReleaseError; a release that raises must not serve. Raises
    OSError or MemoryError for what may pass.

    `int8`: where the release has a version in 8-bit integers and the processor is fast with them, load that one.
    Only the files that are read are verified: a release also carries archives for people.
    """
    # Starts a thread when imported, and threads do not survive gunicorn's fork: so not at the top.
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    ort_errors = (e for e in vars(raised).values() if isinstance(e, type) and issubclass(e, Exception))
    unusable: tuple[type[Exception], ...] = (*ort_errors, *UNUSABLE)
    has = releases.verify(store, digest, ["model.json"]).files
    precision = "int8" if int8 and "model.int8.onnx" in has and fast_integers() else "float32"
    file = "model.int8.onnx" if precision == "int8" else "model.onnx"
    releases.verify(store, digest, [file])
    try:
        text = (store / digest / "model.json").read_text(encoding="utf-8")
        about = json.loads(text, parse_constant=lambda _: None)  # NaN, which is not JSON.
        classes = tuple(str(label) for label in about["classes"])
        size, threshold = int(about["image_size"]), float(about["threshold"])
        familiarity = None if about.get("familiarity") is None else float(about["familiarity"])
        if about["format"] != 1 or len(classes) < 2 or not 8 <= size <= 2048 or not 0 <= threshold <= 1:
            raise ValueError("expected format 1, two classes or more, image_size 8 to 2048, threshold 0 to 1")
    except UNUSABLE as error:
        raise ModelError(
            f"release {digest}: model.json cannot be used ({error!r}); export the model again"
        ) from None
    options = onnxruntime.SessionOptions()
    # One worker a core: more threads would only wait for each other.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # As fast without, measured, and what a large picture took goes back.
    options.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(store / digest / file), options, providers=["CPUExecutionProvider"]
        )
        model = Model(digest, classes, size, threshold, familiarity, about, session, precision)
        test(model)
    except ModelError:
        raise
    except unusable as error:
        raise ModelError(
            f"release {digest}: {file} cannot be run ({error}); export the model again"
        ) from None
    return model


def trim() -> None:
    """Give back what loading and pictures took and freed: a third of a worker's memory, and its growth over many
    swaps. Whoever allocates waits meanwhile, so not for a thread that gives way to others."""
    with contextlib.suppress(OSError, AttributeError):  # Not glibc.
        ctypes.CDLL(None).malloc_trim(0)


def test(model: Model) -> None:
    """Ask the model about three pictures and look at its answers, not at its promises. Raises ModelError."""
    size, count = model.size, len(model.classes)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    for pixels in (np.zeros_like(noise), np.full_like(noise, 255), noise):
        probabilities, heat, near = model.run(pixels)
        if probabilities.shape != (1, count) or heat.ndim != 4 or heat.shape[:2] != (1, count):
            raise ModelError(
                f"release {model.digest}: self-test failed, shapes {probabilities.shape} and {heat.shape} "
                f"for {count} classes; export the model again"
            )
        if near is not None and near.shape != (1,):
            raise ModelError(
                f"release {model.digest}: self-test failed, familiarity of shape {near.shape}; export the model again"
            )
        total = float(probabilities.sum())
        sound = all(np.isfinite(found).all() for found in (probabilities, heat, near) if found is not None)
        if not (sound and abs(total - 1) < 1e-3):
            raise ModelError(
                f"release {model.digest}: self-test failed, probabilities that sum to {total}; export again"
            )
