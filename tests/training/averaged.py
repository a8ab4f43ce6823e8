"""Started by torchrun, as each of several processes; and by itself, as one: trains a network without BatchNorm on
numbers, and then the real one on pictures. argv: the folder of the data set, the folder for what came out, sizes of
batches."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from greenr_luigi.training import distributed, heads, train
from greenr_luigi.training.libraries import fv
from tests.progress import quiet

EPOCHS = 3


def numbers(out: Path, batch: int) -> None:
    """103 rows in batches, the last of which is smaller."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(103, 6, generator=generator)
    y = (x.sum(1) > 0).long()
    fv.set_seed(7, reproducible=True)

    def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        # All have the whole of a batch that cannot be shared out evenly, so that each step is that of one process.
        if loader.shuffle and len(items) % distributed.world() == 0:
            items = distributed.dealt(items)
        return x[items], y[items]

    loader = heads.batch_loader(len(y), create_batch, bs=batch, shuffle=True)
    watched = heads.batch_loader(len(y), lambda items: (x[items], y[items]), bs=50)
    # Each process starts from other weights than the first, which is what averaging first is for.
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    learn = fv.Learner(
        fv.DataLoaders(loader, watched),
        network,
        loss_func=fv.CrossEntropyLossFlat(),
        metrics=fv.error_rate,
        opt_func=fv.SGD,
        cbs=distributed.callbacks(),
    )
    history = heads.fit_one_cycle(learn, EPOCHS, 0.1, quiet)
    torch.save((network.state_dict(), [vars(epoch) for epoch in history]), out / f"numbers {batch}.pt")


if __name__ == "__main__":
    if "RANK" in os.environ:
        dist.init_process_group()
    dataset, folder, *batches = sys.argv[1:]
    (out := Path(folder) / os.environ.get("RANK", "alone")).mkdir(parents=True)
    for batch in batches:
        numbers(out, int(batch))
    if "RANK" in os.environ:
        how = train.Hyperparameters(
            "tf_efficientnet_lite0", epochs=3, seed=3, image_size=32, recipe="finetune"
        )
        train.train(Path(dataset), out, how, on_progress=quiet)
        dist.destroy_process_group()
