"""What the lower part of a body gives for views of pictures, kept on disk while the upper part learns from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from greenr_luigi.dataset.pixels import Pixels
from greenr_luigi.training import distributed, features, heads


class Activations:
    """Of pictures, and their class numbers: of all of them in view 0 (dataset/views.py), then of all in view 1, and so
    on; `number` of them, a row each, in half precision. `file`: a temporary one under the data root, since /tmp may be
    memory; it has no name and is gone with the process."""

    def __init__(self, file: BinaryIO, paths: Sequence[Path], labels: torch.Tensor, image_size: int) -> None:
        self.file, self.paths, self.labels, self.image_size = file, paths, labels, image_size
        self.shape, self.number = torch.Size(), 0

    def take(
        self,
        below: Callable[[Pixels], torch.Tensor],
        number: int,
        go_on: Callable[[int], bool] = lambda number: True,
    ) -> None:
        """Take so many, by the lower part `below`; or fewer, as `go_on` is told after each batch how many there
        are, and says whether there is time for more."""
        for view in range(-(-number // max(1, len(self.paths)))):
            paths = self.paths[: number - view * len(self.paths)]
            for batch in features.in_batches(below, paths, self.image_size, view):
                self.shape, self.number = batch.shape[1:], self.number + len(batch)
                self.file.write(batch.half().contiguous().numpy().tobytes())
                if not go_on(self.number):
                    return

    def views(self, picture: int) -> int:
        """In how many views a picture was looked at, by its number."""
        return (self.number - 1 - picture) // len(self.paths) + 1

    def row(self, picture: int, view: int) -> int:
        return view * len(self.paths) + picture

    def batch(self, rows: Sequence[int]) -> torch.Tensor:
        """float32 (rows, channels, h, w), channels last in memory."""
        self.file.flush()
        size = 2 * self.shape.numel()
        found = [os.pread(self.file.fileno(), size, row * size) for row in rows]
        batch = np.frombuffer(b"".join(found), np.float16).reshape(len(rows), *self.shape)
        return torch.from_numpy(batch.astype(np.float32)).contiguous(memory_format=torch.channels_last)

    def in_order(self, size: int) -> Any:
        """A fastai DataLoader of batches of all pictures, each in its first view, and their class numbers."""
        return heads.batch_loader(len(self.paths), lambda items: self._labelled(items, items), bs=size)

    def shuffled(self, chosen: Collection[int], size: int) -> Any:
        """The same of those of the chosen pictures that were looked at, anew in each epoch in what order and in which
        view. As many in each of the processes that train together, in batches of so many over all of them."""
        own = [picture for picture in range(min(self.number, len(self.paths))) if picture in chosen]
        pictures = min(distributed.of_all(len(own)))

        def create_batch(items: list[int]) -> heads.Labelled:
            numbers = [own[item] for item in items]
            rows = [self.row(n, loader.rng.randrange(self.views(n))) for n in numbers]
            return self._labelled(rows, numbers)

        bs = min(pictures, distributed.batch_size(size) // distributed.world())
        loader = heads.batch_loader(pictures, create_batch, bs=bs, shuffle=True, drop_last=True)
        return loader

    def _labelled(self, rows: list[int], pictures: list[int]) -> heads.Labelled:
        device = features.device()
        return self.batch(rows).to(device), self.labels[pictures].to(device)
