"""Training the whole network on, after its head has learned: slower, and better where pictures are many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.progress import OnProgress
from greenr_luigi.training import features
from greenr_luigi.training.libraries import fv

EPOCHS = 3
BATCH = 32
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(1e-4, 1e-3)


class _Pictures(fv.DataLoader):  # type: ignore[misc]
    """Batches of normalized pixels read from files each time anew, so that memory holds one batch however
    many pictures there are; when shuffled, that is in training, half of them mirrored."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: torch.Tensor,
        info: dict[str, Any],
        pool: ThreadPoolExecutor,
        **options: Any,
    ) -> None:
        super().__init__(range(len(paths)), bs=BATCH, num_workers=0, **options)
        self.paths, self.labels, self.info, self.pool = paths, labels, info, pool

    def create_batch(self, items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        size, where = self.info["image_size"], features.device()
        batch = np.stack(list(self.pool.map(lambda i: pixels.read(self.paths[i], size), items)))
        x = features.normalized(batch, self.info["mean"], self.info["std"], where)
        if self.shuffle:
            mirrored = torch.tensor([self.rng.random() < 0.5 for _ in items], device=where)
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return x, self.labels[items].to(where)


def fit(
    learn: Any,
    train: tuple[Sequence[Path], torch.Tensor],
    valid: tuple[Sequence[Path], torch.Tensor],
    info: dict[str, Any],
    seed: int,
    progress: OnProgress,
    epochs: int = EPOCHS,
    cbs: Sequence[Any] = (),
) -> list[dict[str, float]]:
    """Train a learner's body and head in place by fastai's fit_one_cycle, the body more slowly; in mixed
    precision on a GPU. Paths and class numbers on either side; `info` has image_size, mean and std; `cbs` are
    further fastai callbacks. A row an epoch, as heads.fit."""
    from greenr_luigi.training.heads import Epochs, history

    features.keep_memory()
    fv.set_seed(seed, reproducible=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learn.dls = fv.DataLoaders(
            _Pictures(*train, info, pool, shuffle=True, drop_last=len(train[0]) > BATCH),
            _Pictures(*valid, info, pool),
            device=features.device(),
        )
        learn.model.to(features.device(), memory_format=torch.channels_last)
        learn.loss_func = fv.CrossEntropyLossFlat()
        if features.device().type == "cuda":
            learn.to_fp16()
        learn.unfreeze()
        with learn.no_bar(), learn.no_logging(), learn.added_cbs([Epochs(progress), *cbs]):
            learn.fit_one_cycle(epochs, LEARNING_RATES)
    return history(learn)
