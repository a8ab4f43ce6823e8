"""The features that a frozen body finds in each picture: computed once, kept as a short vector."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greenr_luigi.dataset import pixels
from greenr_luigi.progress import OnProgress
from greenr_luigi.training import distributed
from greenr_luigi.training.saved_model import Training

#: Pictures that pass the body at once. Larger batches do not fit into a CPU's caches, and are no faster.
CPU_BATCH = 8
GPU_BATCH = 128


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def keep_memory() -> None:
    """Have glibc keep freed memory (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). By default it returns large
    blocks at each layer, and the page faults to get them back are half the time of a forward pass on a CPU."""
    mallopt = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "mallopt", None)
    if mallopt is not None:
        for option in (-3, -1):
            mallopt(option, 2**30)


def normalized(batch: pixels.Pixels, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 (n, S, S, 3) to float32 (n, 3, S, S) as fastai's Normalize has it, on the GPU if there is one,
    channels last in memory."""
    shift, scale = (torch.tensor(values, device=device())[:, None, None] for values in (mean, std))
    return (torch.from_numpy(batch).to(device()).permute(0, 3, 1, 2).float() / 255 - shift) / scale


def pooled(
    learn: Any, paths: Sequence[Path], training: Training, on_progress: OnProgress, flip: bool = False
) -> torch.Tensor:
    """The body's features of each picture, averaged over locations as the head's first layer would: float32, on the
    CPU, of shape (pictures, features, 1, 1), or (pictures, features) where the body does so by itself. The head takes
    these for pictures. `flip` mirrors each picture.

    Each core takes whole batches. If the cores shared out each layer, they would wait for each other at every one:
    several times slower on a busy machine, and the result would depend on the number of cores.

    Processes that train together share the pictures out.
    """
    keep_memory()
    number, paths = len(paths), distributed.dealt(list(paths))
    threads = torch.get_num_threads()
    on_gpu = device().type == "cuda"
    workers, batch_size = (1, GPU_BATCH) if on_gpu else (threads, CPU_BATCH)
    body: nn.Module = learn.model[0].to(device(), memory_format=torch.channels_last).eval()

    def batch_features(batch: pixels.Pixels) -> torch.Tensor:
        with torch.inference_mode():
            x = normalized(batch, training.mean, training.std)
            y: torch.Tensor = body(x.flip(3) if flip else x)
            return (y.mean((2, 3), keepdim=True) if y.ndim == 4 else y).cpu()

    parts: list[torch.Tensor] = []
    done = 0
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            batches = pixels.read_batches(paths, training.image_size, batch_size)
            for part in pixels.map_ahead(pool, batch_features, batches, 2 * workers):
                parts.append(part)
                done = min(done + len(part) * distributed.world(), number)
                on_progress(done / number, f"looking at pictures: {done} of {number}")
    finally:
        torch.set_num_threads(threads)
    # What is made outside inference mode may take part in training.
    return distributed.collected(torch.cat(parts) if parts else torch.empty(0), number)
