"""Goes on to train the whole network when its head has learned: slower, and better where pictures are many."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenr_luigi.dataset.pixels import read_pixels
from greenr_luigi.progress import OnProgress
from greenr_luigi.training import distributed, features, heads
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
    device, batch_size = features.device(), distributed.batch_size(BATCH)

    def picture_loader(paths: Sequence[Path], labels: torch.Tensor, **options: Any) -> Any:
        def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            mirrored = [loader.shuffle and loader.rng.random() < 0.5 for _ in items]
            if loader.shuffle:  # Each process looks at all validation pictures, and tells their mean exactly.
                items, mirrored = distributed.share(items), distributed.share(mirrored)
            batch = pool.map(partial(read_pixels, size=training.image_size), [paths[i] for i in items])
            x = features.normalized(np.stack(list(batch)), training.mean, training.std)
            if any(mirrored):
                x = torch.where(torch.tensor(mirrored, device=device)[:, None, None, None], x.flip(3), x)
            return x, labels[items].to(device)

        loader = heads.batch_loader(len(paths), create_batch, bs=batch_size, **options)
        return loader

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        loader = picture_loader(*given.train, shuffle=True, drop_last=len(given.train[0]) > batch_size)
        learn.dls = fv.DataLoaders(loader, picture_loader(*given.valid), device=device)
        learn.model.to(device, memory_format=torch.channels_last)
        learn.loss_func = fv.CrossEntropyLossFlat()
        if device.type == "cuda":
            learn.to_fp16()
        learn.unfreeze()
        with learn.added_cbs(distributed.callbacks()):
            return heads.fit_one_cycle(learn, epochs, LEARNING_RATES, on_progress)
