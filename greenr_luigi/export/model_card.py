"""model.json: what must be known of an exported model to answer with it, and what a person may want to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from greenr_luigi import contracts
from greenr_luigi.evaluation.metrics import DataCounts, Measured

NAME = "model.json"


@dataclass(frozen=True)
class Quantization:
    """`offered`: the export has a version in 8-bit integers. `why` it has none, or else what the integers changed on
    held-out pictures. The differences are between the probabilities of a picture, from 0 to 1."""

    offered: bool
    why: str | None = None
    pictures: int | None = None
    labels_changed: int | None = None
    answers_changed: int | None = None
    mean_difference: float | None = None
    largest_difference: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """`classes` in the order of the model's outputs; `image_size`: the side in pixels of the square that it takes;
    `threshold` and `familiarity`: the least top probability, and the least familiarity, of an answer; `mean`, `std` and
    `resize`: as in training.json; `license` and `weights`: of the body that training started from.

    What an answer needs has no default. The rest is None in a release that lacks it."""

    format: Literal[1]
    classes: Annotated[list[str], Meta(min_length=2)]
    image_size: Annotated[int, Meta(ge=8, le=2048)]
    threshold: Annotated[float, Meta(ge=0, le=1)]
    familiarity: float | None = None
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


def read_card(folder: Path) -> ModelCard:
    """The model card of an export or a release. What people are only shown is None where it has another shape.

    Raises ContractError if it lacks what answers need, or if its familiarity is no number: taken for None, it would let
    every picture have an answer."""
    return contracts.read_tolerant(
        folder / NAME, ModelCard, "export the model again", strict=("familiarity",)
    )
