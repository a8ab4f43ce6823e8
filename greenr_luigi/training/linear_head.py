"""A trained head as one linear map, which is all that those need who ask it: no fastai."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

Matrix = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class LinearHead:
    """A head as one linear map of the pooled features: `weight` (classes, features) and `bias` (classes,)."""

    weight: Matrix
    bias: Matrix

    def logits(self, x: torch.Tensor) -> Matrix:
        """(pictures, classes), from features (pictures, features, ...)."""
        return x.flatten(1).numpy() @ self.weight.T + self.bias


def folded(head: nn.Module) -> LinearHead:
    """A head's BatchNorm folded into its Linear layer. The head must average features over locations and then be linear
    in them: one BatchNorm1d, one Linear layer, and beside these only what does nothing in evaluation mode or only
    changes the shape (pooling, Flatten, Dropout)."""
    norm = next(m for m in head.children() if isinstance(m, nn.BatchNorm1d))
    linear = next(m for m in head.children() if isinstance(m, nn.Linear))
    made = without_norm(norm, linear.weight)
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
