"""The features that a body finds in each picture, for what trains on them in torch."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from greenr_luigi.dataset import pixels
from greenr_luigi.kept import digest_of, versions
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import regular
from greenr_luigi.training import body_onnx, distributed, embedding
from greenr_luigi.training.embedding import Embedder, Features
from greenr_luigi.training.saved_model import Training

Given = TypeVar("Given")
#: Pictures that pass the body at once. Larger batches do not fit into a CPU's caches, and are no faster.
CPU_BATCH = 8
GPU_BATCH = 128
#: As it was loaded, whatever lies there by the time it runs.
CODE = [regular.read(Path(__file__)), embedding.CODE]


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_gpu() -> bool:
    return device().type == "cuda"


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
    learn: Any,
    paths: Sequence[Path],
    training: Training,
    on_progress: OnProgress,
    view: int = 0,
    root: Path | None = None,
) -> torch.Tensor:
    """The body's features of each picture, averaged over locations as the head's first layer would: float32, on the
    CPU, of shape (pictures, features, 1, 1), or (pictures, features) where the body does so by itself. The head takes
    these for pictures. `view`: which view of each picture (dataset/views.py). `root`: a data root, where the features
    of pictures that are named by their content stay for the next time, in whose files the result lies (embedding.py),
    and the body as ONNX (body_onnx.py), which computes them where there is no GPU.

    No picture's features depend on the others, so that those that are kept are those that would be computed.

    Processes that train together share the pictures out.
    """
    number, paths = len(paths), distributed.dealt(list(paths))
    body: nn.Module = learn.model[0].to(device(), memory_format=torch.channels_last).eval()
    if root and not on_gpu():
        onnx, threads = body_onnx.kept(root, body, training), torch.get_num_threads()
        embedder = embedding.of_network(onnx, training.image_size, view=view, threads=threads)
    else:
        embedder = _of_torch(body, training, view)
    found = torch.from_numpy(embedding.embedded(embedder, paths, root, on_progress))
    if any(isinstance(module, nn.AdaptiveAvgPool2d) for module in learn.model[1].children()):
        # Which the head does not know to be done.
        found = found[:, :, None, None]
    # What is made outside inference mode may take part in training.
    return distributed.collected(found, number)


def _of_torch(body: nn.Module, training: Training, view: int) -> Embedder:
    keep_memory()

    def features(batch: pixels.Pixels) -> Features:
        x = normalized(batch, training.mean, training.std)
        return _pooled(body, x).flatten(1).cpu().numpy()

    def compute(paths: Sequence[Path]) -> Iterator[Features]:
        return in_batches(features, paths, training.image_size, view)

    computing = device().type, torch.backends.cpu.get_cpu_capability(), versions(embedding.LIBRARIES), CODE
    digest = digest_of(body_onnx.digest(body, training), view, computing)

    def size() -> int:
        nothing = np.zeros((1, training.image_size, training.image_size, 3), np.uint8)
        return features(nothing).size

    return Embedder(digest, size, compute)


def in_batches(
    give: Callable[[pixels.Pixels], Given], paths: Sequence[Path], image_size: int, view: int
) -> Iterator[Given]:
    """What `give` gives for each batch of the pictures in a view, in their order. Each core takes whole batches."""
    threads = torch.get_num_threads()
    workers, batch_size = (1, GPU_BATCH) if on_gpu() else (threads, CPU_BATCH)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            batches = pixels.read_batches(paths, image_size, batch_size, view=view)
            yield from pixels.map_ahead(pool, give, batches, 2 * workers)
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _pooled(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = body(x)
    return y.mean((2, 3), keepdim=True) if y.ndim == 4 else y
