"""fastai, timm and torchvision, imported with care. Import this module only where a stage runs: it takes
seconds."""

from __future__ import annotations

import warnings
from typing import Any

import torch

try:
    import torchvision
except RuntimeError as error:
    # The CUDA build of torchvision beside a CPU build of torch: what pip gives where torch comes from a local wheel.
    # Its operators cannot load, and the import fails on two that it only describes (pytorch/vision#8985). We use
    # neither. Operators are forgotten with the object that defined them.
    if "torchvision::" not in str(error):
        raise
    _operators: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

with warnings.catch_warnings():
    # What fastai and timm call while they are imported is deprecated. Since torch 2.14 it warns everybody of that.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.filterwarnings("ignore", "`torch.jit.script", FutureWarning)
    import fastai.vision.all as fv
    import timm

__all__ = ["fv", "timm", "torchvision"]
