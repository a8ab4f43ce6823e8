"""Training the whole network on, after its head has learned: slower, and better where pictures are many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.dataset import pixels
from greenr_luigi.progress import OnProgress
from greenr_luigi.training import features, heads
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.saved_model import Epoch, Training

EPOCHS = 3
BATCH = 32
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(1e-4, 1e-3)


def fit(
    learn: Any,
    train: tuple[Sequence[Path], torch.Tensor],
    valid: tuple[Sequence[Path], torch.Tensor],
    training: Training,
    on_progress: OnProgress,
    epochs: int = EPOCHS,
    cbs: Sequence[Any] = (),
) -> list[Epoch]:
    """Train a learner's body and head in place, the body more slowly; in mixed precision on a GPU. `train` and `valid`
    are paths and class numbers; `cbs` are further fastai callbacks, for experiments."""
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learn.dls = fv.DataLoaders(
            picture_loader(*train, training, pool, shuffle=True, drop_last=len(train[0]) > BATCH),
            picture_loader(*valid, training, pool),
            device=features.device(),
        )
        learn.model.to(features.device(), memory_format=torch.channels_last)
        learn.loss_func = fv.CrossEntropyLossFlat()
        if features.device().type == "cuda":
            learn.to_fp16()
        learn.unfreeze()
        return heads.fit_one_cycle(learn, epochs, LEARNING_RATES, on_progress, cbs)


def picture_loader(
    paths: Sequence[Path],
    labels: torch.Tensor,
    training: Training,
    pool: Executor,
    shuffle: bool = False,
    drop_last: bool = False,
) -> Any:
    """A fastai DataLoader of normalized pixels read from files each time anew, so that memory holds one batch however
    many pictures there are; when shuffled, that is in training, half of them mirrored."""

    def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        read = pool.map(lambda i: pixels.read_pixels(paths[i], training.image_size), items)
        x = features.normalized(np.stack(list(read)), training.mean, training.std)
        if shuffle:
            mirrored = torch.tensor([loader.rng.random() < 0.5 for _ in items], device=x.device)
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return x, labels[items].to(x.device)

    loader = fv.DataLoader(
        range(len(paths)),
        bs=BATCH,
        num_workers=0,
        create_batch=create_batch,
        shuffle=shuffle,
        drop_last=drop_last,
    )
    return loader
