"""The features of pictures, each a short vector that a body finds once: kept by the picture's content, and given in an
array that lies on the disk, however many pictures there are. Imports no torch: whatever asks a model about pictures,
asks for their features here."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi import cores, inference
from greenr_luigi.dataset import pixels, views
from greenr_luigi.kept import FEATURES, Kept, digest_of, versions
from greenr_luigi.pictures import door
from greenr_luigi.progress import OnProgress
from greenr_luigi.staleness import regular

#: What a body as ONNX takes, and the two that it gives (body_onnx.py).
PIXELS, MAPS, POOLED = "pixels", "features", "pooled"
#: Pictures that a thread takes at once.
BATCH = 8
#: By whose versions features of the same body may differ. The last is not everywhere.
LIBRARIES = ("onnxruntime", "pillow", "pillow_heif")
#: A file of a data set, which is named by its content. Of others nothing is kept.
CONTENT = re.compile(r"[0-9a-f]{16}")
#: As it was loaded, whatever lies there by the time it runs.
CODE = [regular.read(Path(file)) for file in (__file__, pixels.__file__, views.__file__, inference.__file__)]
#: What ONNX Runtime chooses by how it computes, and so the last digits.
INSTRUCTIONS = re.compile(r"(avx|amx|sse|ssse|fma|f16c|asimd|sve|bf16|i8mm|dotprod)\w*")

Features = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Embedder:
    """What makes features of pictures. `digest`: of all that shapes them; `size`: says how many numbers each is;
    `compute`: gives them for files, (up to a few, size) at a time, in the order of these."""

    digest: str
    size: Callable[[], int]
    compute: Callable[[Sequence[Path]], Iterator[Features]]


def of_network(
    network: bytes,
    image_size: int,
    *,
    outputs: Sequence[str] = (POOLED,),
    view: int = 0,
    version: int = door.VERSION,
    threads: int = 0,
) -> Embedder:
    """By an ONNX file, such as that of a body (body_onnx.py), of squares of so many pixels a side as that `version` of
    the door makes them, in a `view` (dataset/views.py); on so many `threads`, 0 for one a core. What it gives of a
    picture are those of the `outputs` that it has, one behind the other. It is loaded when it is first needed."""
    session = functools.cache(lambda: inference.open_session(network, threads=1))
    workers = threads or cores.allowed()

    def named() -> list[Any]:
        return [out for name in outputs for out in session().get_outputs() if out.name == name]

    def features(batch: pixels.Pixels) -> Features:
        # One by one: so it depends on no other picture. Each core takes whole ones: shared out by layers, the cores
        # would wait for each other at every one.
        names = [out.name for out in named()]
        said = (session().run(names, {PIXELS: one[None]}) for one in batch)
        return np.stack([np.concatenate([output.ravel() for output in of_one]) for of_one in said])

    def compute(paths: Sequence[Path]) -> Iterator[Features]:
        session()
        with ThreadPoolExecutor(workers) as pool:
            batches = pixels.read_batches(paths, image_size, BATCH, version, view)
            yield from pixels.map_ahead(pool, features, batches, 2 * workers)

    def size() -> int:
        return sum(math.prod(out.shape[1:]) for out in named())

    content = hashlib.sha256(network).hexdigest(), outputs
    computing = _instructions(), versions(LIBRARIES), CODE
    digest = digest_of(content, image_size, view, version, computing)
    return Embedder(digest, size, compute)


def embedded(
    embedder: Embedder, paths: Sequence[Path], root: Path | None, on_progress: OnProgress
) -> Features:
    """The features of files, (files, size). What is named by its content is kept under a data root, and computed only
    if nothing is kept of it. The array lies in a file there that has no name."""
    found: Features | None = None
    done = 0
    with contextlib.ExitStack() as closing:
        parts = _numbered(range(len(paths)), embedder.compute(paths))
        if root:
            kept = Kept(root / FEATURES, embedder.digest, lambda words: on_progress(done / len(paths), words))
            parts = _kept_or_computed(closing.enter_context(kept), embedder, paths)
        for rows, part in parts:
            if found is None:
                found = empty(root, len(paths), part.shape[1])
            found[rows] = part
            done += len(rows)
            on_progress(done / len(paths), f"looking at pictures: {done} of {len(paths)}")
    return empty(None, 0, embedder.size()) if found is None else found


def _kept_or_computed(
    kept: Kept, embedder: Embedder, paths: Sequence[Path]
) -> Iterator[tuple[Sequence[int], Features]]:
    """Rows of the result, and what they hold."""
    row_of = {path.stem: row for row, path in enumerate(paths) if CONTENT.fullmatch(path.stem)}
    missing = dict.fromkeys(range(len(paths)))
    for known in kept.known(row_of):
        if known:
            rows = [row_of[name] for name in known]
            yield rows, np.frombuffer(b"".join(known.values()), "<f4").reshape(len(rows), -1)
            for row in rows:
                del missing[row]
    if missing:
        rows = [*missing]
        for some, part in _numbered(rows, embedder.compute([paths[row] for row in rows])):
            yield some, part
            seen = zip((paths[row] for row in some), part, strict=True)
            kept.keep(
                {path.stem: vector.astype("<f4").tobytes() for path, vector in seen if _is_its_name(path)}
            )


def _is_its_name(path: Path) -> bool:
    """Whether a file holds the content that it is named by. Nobody may have looked since it was put there, and what is
    kept under that name is trusted for ever."""
    return bool(CONTENT.fullmatch(path.stem)) and door.sha256(regular.read(path)).startswith(path.stem)


def _numbered(rows: Sequence[int], parts: Iterable[Features]) -> Iterator[tuple[Sequence[int], Features]]:
    start = 0
    for part in parts:
        yield rows[start : start + len(part)], part
        start += len(part)


def empty(root: Path | None, rows: int, size: int) -> Features:
    """An array to fill. It lies in a file of a data root that has no name, and is gone with the last who holds it; in
    memory where there is no root, or no room."""
    with contextlib.suppress(OSError):
        if root:
            with tempfile.TemporaryFile(dir=root / FEATURES) as file:
                # Or a disk that fills up would end the process by a signal.
                os.posix_fallocate(file.fileno(), 0, 4 * rows * size)
                return np.memmap(file, np.float32, "r+", shape=(rows, size))
    return np.empty((rows, size), np.float32)


@functools.cache
def _instructions() -> str:
    """Those that this processor has."""
    try:
        words = regular.read(Path("/proc/cpuinfo")).decode(errors="replace").split()
    except OSError:
        return platform.machine()
    return " ".join(sorted({word for word in words if INSTRUCTIONS.fullmatch(word)}))
