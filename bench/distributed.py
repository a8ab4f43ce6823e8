"""Whether fine-tuning over processes is worth it: `torchrun --standalone --nproc-per-node 2 bench/distributed.py P`
against `python bench/distributed.py P`. Over hosts by torchrun's own --nnodes and --rdzv-endpoint.

Each process learns from its share of the pictures; gradients are averaged at each step (gloo), BatchNorm's statistics
at the end. P has a folder a class; a fifth of it is held out."""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import torch
import torch.distributed as dist
from sklearn.model_selection import StratifiedKFold

from greenr_luigi.dataset import pixels
from greenr_luigi.training import architectures, features, finetuning, recipes
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.recipes import Ingredients
from greenr_luigi.training.saved_model import Training, Weights
from tests.progress import quiet

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class AverageGradients(fv.Callback):  # type: ignore[misc]
    def before_step(self) -> None:
        for parameter in self.learn.model.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= WORLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--fold", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // WORLD))
    if WORLD > 1:
        # Before anything is trained: fastai gathers losses as soon as it sees the variables of torchrun.
        dist.init_process_group("gloo")
    paths = sorted(asked.photos.glob("*/*.jpg"))
    classes = sorted({path.parent.name for path in paths})
    y = torch.tensor([classes.index(path.parent.name) for path in paths])
    folds = [*StratifiedKFold(5, shuffle=True, random_state=0).split(paths, y)]
    train, held = (list(map(int, side)) for side in folds[asked.fold])
    body = architectures.find(architectures.DEFAULT)
    weights = Weights(body.weights, body.license)
    mean, std = list(body.mean), list(body.std)
    training = Training(body.name, classes, asked.size, mean, std, "finetune", 12, seed=0, weights=weights)
    torch.manual_seed(0)
    learn = architectures.learner(body, classes, asked.size, pretrained=True)
    watched = ([paths[i] for i in held], y[held])
    recipes.fit_head(Ingredients(learn, ([paths[i] for i in train], y[train]), watched, training), quiet)
    ours = train[RANK::WORLD][: len(train) // WORLD]
    start = time.perf_counter()
    if WORLD > 1:
        learn.add_cb(AverageGradients())
        finetuning.BATCH //= WORLD
    share = Ingredients(learn, ([paths[i] for i in ours], y[ours]), watched, training)
    finetuning.fit(share, quiet, epochs=asked.epochs)
    if WORLD > 1:
        for buffer in filter(torch.is_floating_point, learn.model.buffers()):
            dist.all_reduce(buffer)
            buffer /= WORLD
    seconds = time.perf_counter() - start
    learn.model.eval()
    with torch.inference_mode():
        batches = pixels.read_batches(watched[0], asked.size, 20)
        said = torch.cat([learn.model(features.normalized(batch, mean, std)) for batch in batches])
    wrong, loss = (
        int((said.argmax(1) != watched[1]).sum()),
        torch.nn.functional.cross_entropy(said, watched[1]),
    )
    same = True
    if WORLD > 1:
        sums: list[object] = [None] * WORLD
        dist.all_gather_object(sums, [float(p.detach().double().sum()) for p in learn.model.parameters()])
        same = all(each == sums[0] for each in sums)
        dist.destroy_process_group()
    if RANK == 0:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{WORLD} processes, fold {asked.fold}: {wrong} of {len(held)} wrong, loss {float(loss):.3f}, "
            f"{seconds:.1f} s, {memory} MB each, all alike: {same}"
        )


if __name__ == "__main__":
    main()
