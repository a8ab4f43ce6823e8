"""The pictures of a data set as a model sees them."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from greenr_luigi import cores
from greenr_luigi.dataset import views
from greenr_luigi.dataset.rows import LabelRow, read_labels
from greenr_luigi.errors import GreenrError
from greenr_luigi.pictures import door
from greenr_luigi.pictures.terms import TAKEN
from greenr_luigi.staleness import regular

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Item = TypeVar("Item")
Result = TypeVar("Result")


class DataSetError(GreenrError):
    """A data set that no model can be trained on, or judged by."""


def read_rows(dataset: Path, *sides: str) -> list[LabelRow]:
    """The rows of a SplitDataset folder on the given sides ("train", "valid", "test"), sorted by file.

    Raises DataSetError if one of the sides has no picture."""
    rows = read_labels(dataset, *sides)
    if missing := set(sides) - {row.side for row in rows}:
        raise DataSetError(
            f"{dataset}: no picture is on the side {min(missing)!r}, expected at least one; ask for more pictures"
        )
    return rows


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of a list, such as of pictures, taken evenly from the whole of it."""
    number = min(most, len(items))
    return [items[i * len(items) // number] for i in range(number)]


def read_pixels(path: Path, size: int, version: int = door.VERSION, view: int = 0) -> Pixels:
    """One picture's pixels, uint8 (size, size, 3), through the door that the server uses too; or those of another view
    of it (views.py).

    Raises door.UnusablePicture that names the file."""
    try:
        image = door.open_picture(regular.read(path), size, version, TAKEN)
        return door.square(views.view(image, view), size)
    except door.UnusablePicture as error:
        raise door.UnusablePicture(
            error.reason,
            f"{path}: {error}; reject it with `greenr reject {path.name}`, or run the download again",
        ) from error


def read_batches(
    paths: Sequence[Path], size: int, batch: int, version: int = door.VERSION, view: int = 0
) -> Iterator[Pixels]:
    """The pictures in order, uint8 (up to `batch`, size, size, 3) at a time. Pillow decodes without the
    interpreter's lock, so threads are enough; at most four batches are in memory, however many pictures
    there are."""
    with ThreadPoolExecutor(cores.allowed()) as pool:
        pictures = map_ahead(
            pool, functools.partial(read_pixels, size=size, version=version, view=view), paths, 3 * batch
        )
        while pixels := list(islice(pictures, batch)):
            yield np.stack(pixels)


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """The results in the order of the items, like `pool.map`, but with at most `ahead` items under way."""
    futures: deque[Future[Result]] = deque()
    for item in items:
        if len(futures) == ahead:
            yield futures.popleft().result()
        futures.append(pool.submit(function, item))
    while futures:
        yield futures.popleft().result()
