"""model.json: what must be known of an exported model to answer with it, and what a person may want to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError
from greenr_luigi.evaluation.metrics import DataCounts, Measured
from greenr_luigi.pictures import version
from greenr_luigi.pictures.terms import MIN_SIDE, Terms
from greenr_luigi.training.saved_model import Tried

NAME = "model.json"


@dataclass(frozen=True)
class HeldOut:
    """A model on held-out pictures. `error`: the fraction that it names wrongly. `loss`: the mean negative
    log-likelihood of their labels, in nats; it is low where probabilities mean what they say. `coverage`: the fraction
    answered."""

    error: float
    loss: float
    coverage: float


@dataclass(frozen=True)
class Quantization:
    """`offered`: the export has a version in 8-bit integers. `why` it has none, or None. Then, on so many held-out
    `pictures`, what it costs: the model in `floats`, and in `integers`; the 95 % interval of the difference in error
    (comparison.paired_interval); and what it changes. Differences are between the probabilities of a picture, from 0 to
    1."""

    offered: bool
    why: str | None = None
    pictures: int | None = None
    floats: HeldOut | None = None
    integers: HeldOut | None = None
    error_interval: tuple[float, float] | None = None
    labels_changed: int | None = None
    answers_changed: int | None = None
    mean_difference: float | None = None
    largest_difference: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """`classes` in the order of the model's outputs; `image_size`: the side in pixels of the square that it takes;
    `threshold` and `familiarity`: the least top probability, and the least familiarity, of an answer; `door`: which
    version of it (pictures/version.py) gave the pixels that it has learned from; `min_side`: the
    least side of a picture in pixels, as it was then; `mean`, `std` and `resize`: as in
    training.json; `license` and `weights`: of the body that training started from; `recipe`: by which the head was
    trained, or more, and `tried` what there was to choose from, where `auto` has chosen it.

    What an answer needs has no default. The rest is None in a release that lacks it."""

    format: Literal[1]
    classes: Annotated[list[str], Meta(min_length=2)]
    image_size: Annotated[int, Meta(ge=8, le=2048)]
    threshold: Annotated[float, Meta(ge=0, le=1)]
    familiarity: float | None = None
    door: int | None = None
    min_side: Annotated[int, Meta(ge=1)] | None = None
    temperature: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    resize: str | None = None
    arch: str | None = None
    metrics: Measured | None = None
    data: DataCounts | None = None
    versions: dict[str, str] | None = None
    license: str | None = None
    weights: str | None = None
    int8: Quantization | None = None
    recipe: str | None = None
    tried: list[Tried] | None = None

    @property
    def door_version(self) -> int:
        """As of door.open_picture. Before releases told it there was one."""
        return 1 if self.door is None else self.door

    @property
    def terms(self) -> Terms:
        """On which pictures are answered: those of training, with MIN_SIDE before releases told it."""
        return Terms(self.min_side or MIN_SIDE)


def read_card(folder: Path) -> ModelCard:
    """The model card of an export or a release. What people are only shown is None where it has another shape.

    Raises ContractError if it lacks what answers need, if its familiarity is no number (taken for None, it would let
    every picture have an answer), or if its door is none that this program has: the model would see other pixels than
    it has learned from."""
    path = folder / NAME
    strict = ("familiarity", "door", "min_side")
    card = contracts.read_tolerant(path, ModelCard, "export the model again", strict=strict)
    if card.door_version not in version.VERSIONS:
        known = " and ".join(map(str, version.VERSIONS))
        raise ContractError(
            f"{path}: the model has learned from pictures as of door {card.door_version}; this program has {known}: "
            "run DeployApp, or serve it with the program that made it"
        )
    return card
