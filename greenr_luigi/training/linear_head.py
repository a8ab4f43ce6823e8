"""A trained head as one linear map, which is all that those need who ask it: no fastai."""

from __future__ import annotations

from dataclasses import dataclass
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
    assert norm.running_var is not None and norm.running_mean is not None
    with torch.inference_mode():
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = linear.weight @ (norm.bias - scale * norm.running_mean)
        weight = linear.weight * scale
        return LinearHead(weight.numpy(), (bias if linear.bias is None else bias + linear.bias).numpy())
