"""What a frozen body sees in each picture: looked at once, kept as a short vector."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from greenr_luigi.dataset import pixels
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

    Each core takes whole batches. Sharing out each layer instead makes cores wait for each other at every one,
    which takes several times as long where something else runs too; and so the result does not depend on the
    number of cores.
    """
    threads = torch.get_num_threads()
    keep_memory()
    where = device()
    body: nn.Module = learn.model[0].to(where, memory_format=torch.channels_last).eval()
    on_gpu = where.type == "cuda"

    def look(batch: pixels.Pixels) -> torch.Tensor:
        with torch.inference_mode():
            x = normalized(batch, mean, std, where)
            y: torch.Tensor = body(x.flip(3) if flip else x)
            return (y.mean((2, 3), keepdim=True) if y.ndim == 4 else y).cpu()

    found: list[torch.Tensor] = []
    ahead: deque[Future[torch.Tensor]] = deque()
    done = 0

    def take() -> None:
        nonlocal done
        found.append(ahead.popleft().result())
        done += len(found[-1])
        progress(done / len(paths), f"looking at pictures: {done} of {len(paths)}")

    workers = 1 if on_gpu else threads
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for batch in pixels.batches(paths, image_size, GPU_BATCH if on_gpu else CPU_BATCH):
                ahead.append(pool.submit(look, batch))
                if len(ahead) > 2 * workers:
                    take()
            while ahead:
                take()
    finally:
        torch.set_num_threads(threads)
    # A clone made outside inference mode may take part in training.
    return torch.cat(found).clone()
