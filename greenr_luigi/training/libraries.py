"""fastai, timm and torchvision, imported with care. Import this module only where a stage runs: it takes
seconds."""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def _compiler_left_unloaded() -> Iterator[None]:
    """torchvision and timm load torch's compiler while they are imported, which takes a third of the time of all, for
    two functions: one that is called when boxes are pooled, and a decorator. Meanwhile they get these two as torch
    itself uses them, which load it when they are called."""

    def is_compile_supported(device_type: str) -> bool:
        from torch._dynamo import utils

        return bool(utils.is_compile_supported(device_type))

    def disable(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
        return later(function, recursive)

    def of_the_real_one(attribute: str) -> Any:
        """Other versions may want more of it."""
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(name)
        return getattr(importlib.import_module(name), attribute)

    name = "torch._dynamo.utils"
    later: Any = getattr(sys.modules.get("torch._compile"), "_disable_dynamo", None)
    if "torch._dynamo" in sys.modules or later is None:
        yield
        return
    stand_in, now = types.ModuleType(name), torch.compiler.disable
    vars(stand_in).update(is_compile_supported=is_compile_supported, __getattr__=of_the_real_one)
    sys.modules[name], torch.compiler.disable = stand_in, disable
    try:
        yield
    finally:
        torch.compiler.disable = now
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


with _compiler_left_unloaded():
    try:
        import torchvision
    except RuntimeError as error:
        # The CUDA build of torchvision beside a CPU build of torch: what pip gives where torch comes from a local
        # wheel. Its operators cannot load, and the import fails on two that it only describes (pytorch/vision#8985). We
        # use neither. Operators are forgotten with the object that defined them.
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
