"""Started by torchrun, as each of several processes; and by itself, as one: trains a network without BatchNorm on
numbers, and then the real one on pictures. argv: the folder of the data set, the folder for what came out."""

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


def numbers(out: Path) -> None:
    """103 rows in batches of 31: not even, and the last one is of 10."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(103, 6, generator=generator)
    y = (x.sum(1) > 0).long()
    fv.set_seed(7, reproducible=True)

    def create_batch(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        # All have the whole of a batch that cannot be shared out evenly, so that each step is that of one process.
        if loader.shuffle and len(items) % distributed.world() == 0:
            items = distributed.dealt(items)
        return x[items], y[items]

    loader = heads.batch_loader(len(y), create_batch, bs=int(os.environ["BATCH"]), shuffle=True)
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
    torch.save((network.state_dict(), [vars(epoch) for epoch in history]), out / "numbers.pt")


if __name__ == "__main__":
    if "RANK" in os.environ:
        dist.init_process_group()
    dataset, out = map(Path, sys.argv[1:])
    (out := out / os.environ.get("RANK", "alone")).mkdir(parents=True)
    numbers(out)
    if "RANK" in os.environ:
        train.train(
            dataset, out, arch="tf_efficientnet_lite0", epochs=3, seed=3, image_size=32, recipe="finetune",
            on_progress=quiet,
        )  # fmt: skip
        dist.destroy_process_group()
