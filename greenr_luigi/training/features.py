"""The features that a body finds in each picture: a short vector, computed once and kept by the picture's content."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from greenr_luigi import inference
from greenr_luigi.dataset import pixels, views
from greenr_luigi.kept import FEATURES, Kept, digest_of, versions
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import regular
from greenr_luigi.training import body_onnx, distributed
from greenr_luigi.training.saved_model import Training

#: Pictures that pass the body at once. Larger batches do not fit into a CPU's caches, and are no faster.
CPU_BATCH = 8
GPU_BATCH = 128
#: By whose versions features of the same body may differ. The last is not everywhere.
LIBRARIES = ("onnxruntime", "pillow", "pillow_heif")
#: A file of a data set, which is named by its content. Of others nothing is kept.
CONTENT = re.compile(r"[0-9a-f]{16}")
#: As it was loaded, whatever lies there by the time it runs.
CODE = [regular.read(Path(file)) for file in (__file__, pixels.__file__, views.__file__, inference.__file__)]
#: Features in batches, in the order of the pictures.
Compute = Callable[[Sequence[Path]], Iterator[torch.Tensor]]


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
    of pictures that are named by their content stay for the next time (kept.py), and the body as ONNX
    (body_onnx.py), which computes them where there is no GPU.

    Each core takes whole batches. If the cores shared out each layer, they would wait for each other at every one:
    several times slower on a busy machine, and the result would depend on the number of cores. As it is, no picture's
    features depend on the others of its batch, so that those that are kept are those that would be computed.

    Processes that train together share the pictures out.
    """
    number, paths = len(paths), distributed.dealt(list(paths))
    body: nn.Module = learn.model[0].to(device(), memory_format=torch.channels_last).eval()
    found, done = torch.empty(len(paths), *_shape(body, training)), 0
    with contextlib.ExitStack() as closing:
        if root:
            digest = body_onnx.digest(body, training)
            compute = (
                _by_torch(body, training, view)
                if on_gpu()
                else functools.partial(_by_onnx, body, training, view, root)
            )
            store = Kept(
                root / FEATURES, _name(digest, view), lambda words: on_progress(done / number, words)
            )
            parts = _kept_or_computed(closing.enter_context(store), paths, found.shape[1:].numel(), compute)
        else:
            parts = _numbered(range(len(paths)), _by_torch(body, training, view)(paths))
        for rows, part in parts:
            found[rows] = part.view(len(rows), *found.shape[1:])
            done = min(done + len(rows) * distributed.world(), number)
            on_progress(done / number, f"looking at pictures: {done} of {number}")
    # What is made outside inference mode may take part in training.
    return distributed.collected(found, number)


#: Rows of the result, and what they hold.
Part = tuple[Sequence[int], torch.Tensor]


def _numbered(rows: Sequence[int], parts: Iterable[torch.Tensor]) -> Iterator[Part]:
    start = 0
    for part in parts:
        yield rows[start : start + len(part)], part
        start += len(part)


def _kept_or_computed(
    store: Kept,
    paths: Sequence[Path],
    size: int,
    compute: Compute,
) -> Iterator[Part]:
    row_of = {path.stem: row for row, path in enumerate(paths) if CONTENT.fullmatch(path.stem)}
    missing = dict.fromkeys(range(len(paths)))
    for known in store.known(row_of):
        rows = [row_of[name] for name, vector in known.items() if len(vector) == 4 * size]
        if rows:
            vectors = b"".join(known[paths[row].stem] for row in rows)
            yield rows, torch.frombuffer(bytearray(vectors), dtype=torch.float32).view(len(rows), size)
        for row in rows:
            del missing[row]
    if not missing:
        return
    for some, part in _numbered([*missing], compute([paths[row] for row in missing])):
        yield some, part
        named = zip((paths[row].stem for row in some), part.flatten(1).numpy(), strict=True)
        store.keep({name: vector.astype("<f4").tobytes() for name, vector in named if name in row_of})


def _by_torch(body: nn.Module, training: Training, view: int) -> Compute:
    keep_memory()

    def features(batch: pixels.Pixels) -> torch.Tensor:
        return _pooled(body, normalized(batch, training.mean, training.std)).cpu()

    return functools.partial(_in_batches, features, training.image_size, view)


def _by_onnx(
    body: nn.Module, training: Training, view: int, root: Path, paths: Sequence[Path]
) -> Iterator[torch.Tensor]:
    session = inference.open_session(body_onnx.kept(root, body, training), threads=1)

    def features(batch: pixels.Pixels) -> torch.Tensor:
        # One by one: so it depends on no other picture.
        rows = [session.run([body_onnx.POOLED], {body_onnx.PIXELS: one[None]})[0] for one in batch]
        return torch.from_numpy(np.concatenate(rows))

    return _in_batches(features, training.image_size, view, paths)


def _in_batches(
    features: Callable[[pixels.Pixels], torch.Tensor], image_size: int, view: int, paths: Sequence[Path]
) -> Iterator[torch.Tensor]:
    """In the order of the pictures."""
    threads = torch.get_num_threads()
    workers, batch_size = (1, GPU_BATCH) if on_gpu() else (threads, CPU_BATCH)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            batches = pixels.read_batches(paths, image_size, batch_size, view=view)
            yield from pixels.map_ahead(pool, features, batches, 2 * workers)
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _pooled(body: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = body(x)
    return y.mean((2, 3), keepdim=True) if y.ndim == 4 else y


def _shape(body: nn.Module, training: Training) -> torch.Size:
    """Of one picture's features."""
    nothing = np.zeros((1, training.image_size, training.image_size, 3), np.uint8)
    return _pooled(body, normalized(nothing, training.mean, training.std)).shape[1:]


def _name(digest: str, view: int) -> str:
    """Of the file of features: by the body's digest, the view, and what computes."""
    computing = (device().type, torch.backends.cpu.get_cpu_capability(), versions(LIBRARIES), CODE)
    return digest_of(digest, view, computing)
