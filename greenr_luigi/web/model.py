"""A release in memory: loaded, tested on itself, and asked."""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, UnsetType

from greenr_luigi.errors import GreenrError
from greenr_luigi.export import model_card
from greenr_luigi.export.model_card import ModelCard
from greenr_luigi.inference import is_answer, open_session
from greenr_luigi.pictures.door import open_picture, square
from greenr_luigi.pictures.thumbnail import data_address
from greenr_luigi.serving import releases
from greenr_luigi.web import heat_map
from greenr_luigi.web.heat_map import Floats

Fraction = Annotated[float, Meta(ge=0, le=1)]
#: A data address, or nothing where it was not asked for.
Drawn = str | UnsetType
#: A release has the first, and may have the second, in 8-bit integers.
MODELS = FLOATS, INTEGERS = ("model.onnx", "model.int8.onnx")
#: The longest side in pixels of the picture that an answer shows.
SHOWN = 640
#: What Python raises when a graph gives something else than it should; ONNX Runtime has its own errors besides.
GRAPH_ERRORS = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError)


def described(text: str) -> Meta:
    return Meta(description=text)


class ModelError(GreenrError):
    """A release whose model cannot be served."""


@dataclass(frozen=True)
class Answer:
    """What the model sees in one picture, as the JSON side gives it and the pages show it."""

    label: Annotated[str, described("The class with the highest probability.")]
    sure: Annotated[bool, described("Whether that probability reaches the threshold, of a familiar picture.")]
    familiar: Annotated[bool, described("Whether the picture is like those that the model has learned from.")]
    threshold: Fraction
    probabilities: Annotated[dict[str, Fraction], described("Every class, the most probable first.")]
    release: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    heat: Annotated[Drawn, described("With show=1: where the evidence lies, a PNG as a data address.")] = (
        UNSET
    )
    picture: Annotated[
        Drawn, described("With show=1, for an address: the picture, a JPEG as a data address.")
    ] = UNSET


@dataclass(frozen=True)
class Model:
    """One release, ready to answer; never changes. `precision`: "float32" or "int8"."""

    digest: str
    card: ModelCard
    session: Any
    precision: str

    def answer(self, data: bytes, *, heat: bool = False, picture: bool = False, own: bool = False) -> Answer:
        """From a picture's bytes to the answer. Raises UnusablePicture.

        `own`: as of Terms. `heat`, `picture`: with the heat map, and with a small copy of the picture. The copy is made
        of what was decoded for the model: of a large JPEG that is an eighth to a half, on no side less than the model
        takes. So a picture is decoded once, and to the same pixels whether it is shown or not.
        """
        card = self.card
        image = open_picture(data, card.image_size, card.door_version, card.terms._replace(own=own))
        probabilities, maps, familiarity = self.run(square(image, card.image_size))
        ranking, values = np.argsort(-probabilities[0], kind="stable").tolist(), probabilities[0].tolist()
        top = ranking[0]
        highest = values[top]
        # To a release that does not tell familiarity every picture is familiar.
        near = 1.0 if familiarity is None else float(familiarity[0])
        least = -1.0 if card.familiarity is None else card.familiarity
        if picture:
            image.thumbnail((SHOWN, SHOWN))
        return Answer(
            label=card.classes[top],
            sure=bool(is_answer(highest, near, card.threshold, least)),
            familiar=near >= least,
            threshold=card.threshold,
            probabilities={card.classes[i]: values[i] for i in ranking},
            release=self.digest,
            heat=heat_map.draw(heat_map.class_map(maps[0], top)) if heat else UNSET,
            picture=data_address(image) if picture else UNSET,
        )

    def run(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[Floats, Floats, Floats | None]:
        """From pixels, uint8 (size, size, 3): probabilities (1, classes), class activation maps (1, classes, h, w)
        and familiarity (1,), None if the release does not tell it."""
        names = ["probabilities", "heat", *(["familiarity"] if self.card.familiarity is not None else [])]
        probabilities, maps, *familiarity = self.session.run(names, {"pixels": pixels[None]})
        return probabilities, maps, familiarity[0] if familiarity else None


def fast_integers() -> bool:
    """Whether this processor multiplies 8-bit integers four at a time (VNNI), which halves a run of the model;
    without it they are slower than floats (docs/benchmarks.md)."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # Not Linux.
        return False


def load(store: Path, digest: str, int8: bool = True) -> Model:
    """Load a release and test it. Raises GreenrError for a release that must not serve, OSError or MemoryError for what
    may pass.

    `int8`: where the release has a version in 8-bit integers and the processor is fast with them, load that one.
    Only the files that are read are verified: a release also carries archives for people.
    """
    # Starts a thread when imported, and threads do not survive gunicorn's fork: so not at the top.
    from onnxruntime.capi import onnxruntime_pybind11_state as raised

    errors = tuple(e for e in vars(raised).values() if isinstance(e, type) and issubclass(e, Exception))
    published = releases.verify(store, digest, [model_card.NAME]).files
    precision = "int8" if int8 and INTEGERS in published and fast_integers() else "float32"
    file = INTEGERS if precision == "int8" else FLOATS
    releases.verify(store, digest, [file])
    card = model_card.read_card(store / digest)
    try:
        # One worker a core: more threads would only wait for each other.
        model = Model(digest, card, open_session(store / digest / file, threads=1), precision)
        failure = self_test(model)
    except errors + GRAPH_ERRORS as error:
        failure = f"cannot be run ({error})"
    if failure:
        raise ModelError(f"release {digest}: {file} {failure}; export the model again")
    return model


def self_test(model: Model) -> str:
    """Ask the model about three pictures; what is wrong with its answers, empty if nothing is."""
    size, count = model.card.image_size, len(model.card.classes)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    for pixels in (np.zeros_like(noise), np.full_like(noise, 255), noise):
        probabilities, maps, familiarity = model.run(pixels)
        if probabilities.shape != (1, count) or maps.ndim != 4 or maps.shape[:2] != (1, count):
            return f"self-test failed, shapes {probabilities.shape} and {maps.shape} for {count} classes"
        if familiarity is not None and familiarity.shape != (1,):
            return f"self-test failed, familiarity of shape {familiarity.shape}"
        outputs = [output for output in (probabilities, maps, familiarity) if output is not None]
        total = float(probabilities.sum())
        if not all(np.isfinite(output).all() for output in outputs) or abs(total - 1) > 1e-3:
            return f"self-test failed, probabilities that sum to {total}"
    return ""


def trim_memory() -> None:
    """Give memory that loading and pictures took and freed back to the system: a third of a worker's, and its growth
    over many swaps. Whoever allocates waits meanwhile, so not for a thread of low priority."""
    with contextlib.suppress(OSError, AttributeError):  # Not glibc.
        ctypes.CDLL(None).malloc_trim(0)
