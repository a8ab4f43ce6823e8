"""model.json: what must be known of an exported model to answer with it, and what a person may want to know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from greenr_luigi import contracts

NAME = "model.json"


@dataclass(frozen=True)
class Quantization:
    """Whether the release has a version in 8-bit integers, and what these changed on held-out pictures: `why` not,
    or all of the others.

    The differences are between the probabilities of a picture, 0 to 1 (quantization.compare)."""

    offered: bool
    why: str | None = None
    pictures: int | None = None
    labels_changed: int | None = None
    answers_changed: int | None = None
    mean_difference: float | None = None
    largest_difference: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """What answers need has no default; without it no release can serve. The rest is None in releases that lack it."""

    format: Literal[1]
    #: In the order of the model's outputs.
    classes: Annotated[list[str], Meta(min_length=2)]
    #: Side in pixels of the square that the model takes.
    image_size: Annotated[int, Meta(ge=8, le=2048)]
    #: The least top probability that counts as an answer.
    threshold: Annotated[float, Meta(ge=0, le=1)]
    temperature: float | None = None
    #: The least familiarity that counts as an answer; None: the model does not tell familiarity.
    familiarity: float | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    resize: str | None = None
    arch: str | None = None
    #: What metrics.json says of the test pictures.
    metrics: dict[str, Any] | None = None
    #: Pictures by split and class, and a digest over them.
    data: dict[str, Any] | None = None
    #: Installed libraries when the model was exported.
    versions: dict[str, str] | None = None
    #: The licence and the source of the weights that training started from.
    license: str | None = None
    weights: str | None = None
    int8: Quantization | None = None


def read_card(folder: Path) -> ModelCard:
    """The model card of an export or a release. Raises ContractError."""
    return contracts.read(folder / NAME, ModelCard, "export the model again")
