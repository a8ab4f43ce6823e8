"""fastai, timm and torchvision, imported with care. Import this module only where a stage runs: it takes
seconds."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def _load_torchvision() -> None:
    """Import torchvision, also where pip has put its CUDA build beside a CPU build of torch.

    That pair is what `pip install` gives where torch comes from a local wheel; its compiled operators cannot
    load and `import torchvision` fails on two that it only wants to describe (pytorch/vision#8985). We use
    neither."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        import torchvision  # noqa: F401


#: Operators are forgotten with the library object that defined them.
_KEPT: list[Any] = []
_load_torchvision()

with warnings.catch_warnings():
    # fastai uses torch.jit.script while it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import fastai.vision.all as fv
    import timm
    import torchvision

__all__ = ["fv", "timm", "torchvision"]
