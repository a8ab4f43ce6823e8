"""What TrainModel writes of a model, and the stages after it read: `training.json`. Imports nothing heavy; the tensors
lie beside it in `model.safetensors`, and architectures.load_model reads both. Of a model that was cross-validated,
`folds.safetensors` (folds.py) holds what judges each picture."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Weights:
    """Where the body's first weights come from, and their licence."""

    source: str
    license: str


@dataclass(frozen=True)
class Epoch:
    """How an epoch ended: mean loss on the training and validation pictures, and the fraction of the latter that
    are wrong; in a cross-validation the means over the folds, each of which is validated by its own pictures."""

    train_loss: float
    valid_loss: float
    error_rate: float


@dataclass(frozen=True)
class Tried:
    """What the recipe `auto` has found of another `recipe` (choosing.py). `minutes`: those that it is reckoned to take
    beside the head, which are not measured; None where that did not count. `error`: the fraction that is wrong of so
    many `pictures`, which it has not learned from, with its 95 % Wilson interval; None where it was not tried. `words`:
    why it was taken, or not."""

    recipe: str
    words: str
    minutes: float | None = None
    pictures: int | None = None
    error: float | None = None
    error_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Training:
    """What a model is, and how it was trained: `training.json`.

    `classes` are sorted, the order of the model's outputs. Pictures are resized to a square of `image_size` pixels in
    the way `resize` names; `mean` and `std` are per channel, of pixels scaled to 0..1. `recipe_words` says for a
    person what the recipe does; empty in older files. Where `auto` has chosen the recipe, `tried` has each that there
    was to choose from, the cheapest first. `processes`: how many trained together, on all hosts. No times: the stamp
    has those.
    """

    arch: str
    classes: list[str]
    image_size: int
    mean: list[float]
    std: list[float]
    recipe: str
    epochs: int
    seed: int
    weights: Weights
    resize: str = "squish-bilinear"
    recipe_words: str = ""
    processes: int = 1
    tried: list[Tried] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
