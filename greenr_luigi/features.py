"""What a frozen body sees in each picture: looked at once, kept as a short vector."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greenr_luigi import pixels
from greenr_luigi.progress import OnProgress

#: Pictures that pass the body at once on a CPU. Larger batches leave the caches and gain nothing.
CPU_BATCH = 8
GPU_BATCH = 128


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def keep_memory() -> None:
    """Have glibc keep freed memory. By default it returns large blocks at each layer and takes page faults
    to get them back: that is half the time of a forward pass on a CPU (mallopt(3), M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD)."""
    mallopt = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "mallopt", None)
    if mallopt is not None:
        for option in (-3, -1):
            mallopt(option, 2**30)


def normalized(
    batch: pixels.Pixels, mean: Sequence[float], std: Sequence[float], where: torch.device
) -> torch.Tensor:
    """uint8 (n, S, S, 3) to float32 (n, 3, S, S) as fastai's Normalize has it, channels last in memory."""
    x = torch.from_numpy(batch).to(where).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(mean, device=where)[:, None, None]) / torch.tensor(std, device=where)[
        :, None, None
    ]


def pooled(
    learn: Any, paths: Sequence[Path], image_size: int, mean: Sequence[float], std: Sequence[float],
    progress: OnProgress, flip: bool = False,
) -> torch.Tensor:  # fmt: skip
    """The body's features of each picture averaged over locations, float32 (pictures, features, 1, 1) on the
    CPU, without the ones where the body pools by itself: what the head's own pooling gives, so that the head
    can go on from there. `flip` mirrors each picture.

    `progress` hears fractions from 0 to 1.
    """
    keep_memory()
    where = device()
    body: nn.Module = learn.model[0].to(where, memory_format=torch.channels_last).eval()
    found = []
    done = 0
    with torch.inference_mode():
        for batch in pixels.batches(paths, image_size, CPU_BATCH if where.type == "cpu" else GPU_BATCH):
            x = normalized(batch, mean, std, where)
            y = body(x.flip(3) if flip else x)
            found.append((y.mean((2, 3), keepdim=True) if y.ndim == 4 else y).cpu())
            done += len(batch)
            progress(done / len(paths), f"looking at pictures: {done} of {len(paths)}")
    # A clone made outside inference mode may take part in training.
    return torch.cat(found).clone()
