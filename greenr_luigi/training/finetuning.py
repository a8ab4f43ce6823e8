"""Goes on to train the whole network when its head has learned: slower, and better where pictures are many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.dataset.pixels import read_pixels
from greenr_luigi.progress import OnProgress
from greenr_luigi.training import features, heads
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.recipes import Ingredients
from greenr_luigi.training.saved_model import Epoch

EPOCHS = 3
BATCH = 32
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(1e-4, 1e-3)


def fit(given: Ingredients, on_progress: OnProgress, epochs: int = EPOCHS) -> list[Epoch]:
    """Train a learner's body and head in place, the body more slowly; in mixed precision on a GPU.

    Pixels are read from the files in every epoch, so that memory holds one batch however many pictures there are. Half
    of the training pictures are mirrored, others each time."""
    learn, training = given.learn, given.training
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    device = features.device()

    def picture_loader(paths: Sequence[Path], labels: torch.Tensor, **options: Any) -> Any:
        def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            batch = pool.map(partial(read_pixels, size=training.image_size), [paths[i] for i in items])
            x = features.normalized(np.stack(list(batch)), training.mean, training.std)
            if loader.shuffle:
                mirrored = torch.tensor([loader.rng.random() < 0.5 for _ in items], device=device)
                x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
            return x, labels[items].to(device)

        loader = heads.batch_loader(len(paths), create_batch, bs=BATCH, **options)
        return loader

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        loader = picture_loader(*given.train, shuffle=True, drop_last=len(given.train[0]) > BATCH)
        learn.dls = fv.DataLoaders(loader, picture_loader(*given.valid), device=device)
        learn.model.to(device, memory_format=torch.channels_last)
        learn.loss_func = fv.CrossEntropyLossFlat()
        if device.type == "cuda":
            learn.to_fp16()
        learn.unfreeze()
        return heads.fit_one_cycle(learn, epochs, LEARNING_RATES, on_progress)
