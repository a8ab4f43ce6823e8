"""Training the whole network on, after its head has learned: slower, and better where pictures are many."""

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
from greenr_luigi.training.saved_model import Epoch, Training

EPOCHS = 3
BATCH = 32
#: Peaks of the one-cycle schedule for the body's and the head's weights.
LEARNING_RATES = slice(1e-4, 1e-3)
#: Files and class numbers.
Pictures = tuple[Sequence[Path], torch.Tensor]


def fit(
    learn: Any,
    train: Pictures,
    valid: Pictures,
    training: Training,
    on_progress: OnProgress,
    epochs: int = EPOCHS,
) -> list[Epoch]:
    """Train a learner's body and head in place, the body more slowly; in mixed precision on a GPU.

    Pixels are read from files each time anew, so that memory holds one batch however many pictures there are; half of
    the training pictures are mirrored."""
    features.keep_memory()
    fv.set_seed(training.seed, reproducible=True)
    device = features.device()

    def loader(paths: Sequence[Path], labels: torch.Tensor, mirror: bool, drop_last: bool = False) -> Any:
        def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            batch = list(pool.map(partial(read_pixels, size=training.image_size), [paths[i] for i in items]))
            x = features.normalized(np.stack(batch), training.mean, training.std)
            if mirror:
                mirrored = torch.tensor([made.rng.random() < 0.5 for _ in items], device=device)
                x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
            return x, labels[items].to(device)

        how = {"bs": BATCH, "num_workers": 0, "shuffle": mirror, "drop_last": drop_last}
        made = fv.DataLoader(range(len(paths)), create_batch=create_batch, **how)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        learn.dls = fv.DataLoaders(
            loader(*train, mirror=True, drop_last=len(train[0]) > BATCH),
            loader(*valid, mirror=False),
            device=device,
        )
        learn.model.to(device, memory_format=torch.channels_last)
        learn.loss_func = fv.CrossEntropyLossFlat()
        if device.type == "cuda":
            learn.to_fp16()
        learn.unfreeze()
        return heads.fit_one_cycle(learn, epochs, LEARNING_RATES, on_progress)
