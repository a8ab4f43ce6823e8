"""model.json: what must be known of an exported model to answer with it, and what a person may want to know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from greenr_luigi import contracts
from greenr_luigi.contracts import ContractError

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
    `threshold` and `familiarity`: the least top probability, and the least familiarity, of an answer; `metrics`: what
    metrics.json says of the test pictures; `license`, `weights`: of what training started from.

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
    metrics: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    license: str | None = None
    weights: str | None = None
    int8: Quantization | None = None


def read_card(folder: Path) -> ModelCard:
    """The model card of an export or a release. Raises ContractError if it lacks what answers need; what else is in
    another shape is None."""
    card = contracts.read_tolerant(folder / NAME, ModelCard, "export the model again")
    if card.familiarity is None and json.loads((folder / NAME).read_bytes()).get("familiarity") is not None:
        raise ContractError(f"{folder / NAME}: its familiarity is no number: export the model again")
    return card
