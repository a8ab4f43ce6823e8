"""The pictures of a data set as a model sees them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from greenr_luigi.pictures import door, manifest
from greenr_luigi.pictures.manifest import SplitRow

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def rows(dataset: Path, *sides: str) -> list[SplitRow]:
    """The rows of `dataset/manifest.csv` on the given sides ("train", "valid", "test"), sorted by file."""
    found = manifest.read_csv(dataset / "manifest.csv", SplitRow)
    return sorted((row for row in found if row.side in sides), key=lambda row: row.file)


def some(paths: Sequence[Path], most: int) -> list[Path]:
    """At most so many of the pictures, taken evenly from the whole list."""
    number = min(most, len(paths))
    return [paths[i * len(paths) // number] for i in range(number)]


def read(path: Path, size: int) -> Pixels:
    """One picture's pixels, uint8 (size, size, 3), through the door that the server uses too."""
    try:
        return door.square(door.open_picture(path.read_bytes(), at_least=size), size)
    except door.UnusablePicture as error:
        raise door.UnusablePicture(
            error.reason,
            f"{path}: {error}; reject it with `greenr reject {path.name}`, or run the download again",
        ) from error


def batches(paths: Sequence[Path], size: int, batch: int) -> Iterator[Pixels]:
    """The pictures in order, uint8 (up to `batch`, size, size, 3) at a time. Pillow decodes without the
    interpreter's lock, so threads are enough; at most four batches are in memory, however many pictures
    there are."""
    todo = iter(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ahead: deque[Future[Pixels]] = deque(pool.submit(read, p, size) for p in islice(todo, 3 * batch))
        while ahead:
            yield np.stack([ahead.popleft().result() for _ in range(min(batch, len(ahead)))])
            ahead.extend(pool.submit(read, p, size) for p in islice(todo, batch))
