"""A trained head as one linear map, which is all that those need who ask it: no fastai."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)
Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class LinearHead:
    """A head as one linear map of the pooled features: `weight` (classes, features) and `bias` (classes,)."""

    weight: Matrix
    bias: Matrix

    def logits(self, x: torch.Tensor) -> Matrix:
        """(pictures, classes), from features (pictures, features, ...)."""
        return x.flatten(1).numpy() @ self.weight.T + self.bias


def layer(head: nn.Module, kind: type[Layer]) -> Layer:
    """The one of this kind in a head."""
    return next(module for module in head.children() if isinstance(module, kind))


def folded(head: nn.Module) -> LinearHead:
    """A head's BatchNorm folded into its Linear layer. The head must average features over locations and then be linear
    in them: one BatchNorm1d, one Linear layer, and beside these only what does nothing in evaluation mode or only
    changes the shape (pooling, Flatten, Dropout)."""
    linear = layer(head, nn.Linear)
    made = without_norm(layer(head, nn.BatchNorm1d), linear.weight)
    return made if linear.bias is None else replace(made, bias=made.bias + linear.bias.detach().numpy())


def without_norm(norm: nn.BatchNorm1d, weight: torch.Tensor) -> LinearHead:
    """The linear layer after a BatchNorm, `weight` (classes, features), with the norm folded into it; or one after each
    part of a norm that stands before several, `weight` (heads, classes, features)."""
    assert norm.running_var is not None and norm.running_mean is not None
    with torch.inference_mode():
        gain, shift, mean, variance = (
            of_all.view(*weight.shape[:-2], 1, weight.shape[-1])
            for of_all in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        scale = gain / torch.sqrt(variance + norm.eps)
        bias = (weight * (shift - scale * mean)).sum(-1)
        return LinearHead((weight * scale).numpy(), bias.numpy())


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """So little arithmetic, of torch and NumPy, is slower on several threads than on one, much slower where others want
    the cores too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(threads)
