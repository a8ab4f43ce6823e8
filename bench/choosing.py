"""Whether `views` is better than `head`, and whether a cross-validation can tell:
`python -m bench.choosing FOLDER --pictures 300 --repeats 8`.

Of a folder with a sub-folder a class, so many photographs are drawn, as many of each class. Both recipes learn from
them, and are cross-validated on them. All photographs that were not drawn tell how good each is. The recipe `auto`
takes `views` where it has fewer wrong in cross-validation."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.training import Photographs
from greenr_luigi.training import choosing, cross_validation, folds, linear_head, recipes
from greenr_luigi.training.libraries import fv
from tests.progress import quiet


def drawn(y: np.ndarray, pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of those drawn, and of all others."""
    if pictures >= len(y):
        return np.arange(len(y)), np.arange(0)
    generator, each = np.random.default_rng(seed), pictures // (y.max() + 1)
    order = [generator.permutation(np.flatnonzero(y == label)) for label in range(y.max() + 1)]
    return np.sort(np.concatenate([some[:each] for some in order])), np.sort(
        np.concatenate([some[each:] for some in order])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=8)
    options = parser.parse_args()
    photos = Photographs(options.folder)
    ways: dict[str, dict[str, Any]] = {"head": {}, "views": {"weight_decay": recipes.WEIGHT_DECAY}}
    rows = []
    for seed in range(options.repeats):
        own, others = drawn(photos.y.numpy(), options.pictures, seed)
        y, training = photos.y[own], dataclasses.replace(photos.training, seed=seed)
        fold = folds.divide(y.numpy(), [str(n) for n in own], seed)
        wrong, truth, seconds = {}, {}, {}
        for name, how in ways.items():
            views = photos.views if name == "views" else photos.views[:1]
            x = views[:, own].flatten(0, 1)
            torch.manual_seed(seed)
            head = fv.create_head(x.shape[1], len(photos.classes), lin_ftrs=[], concat_pool=False)
            start = time.process_time()
            judged = cross_validation.out_of_fold(head, x, y, fold, training, quiet, **how)
            head.load_state_dict(judged.of_all)
            seconds[name] = time.process_time() - start
            wrong[name] = choosing.wrong_by(judged, x, y.numpy())
            said = linear_head.folded(head.eval()).logits(photos.x[others]).argmax(1)
            truth[name] = (said != photos.y[others].numpy()).mean() if len(others) else np.nan
        differ, gain = (wrong["head"] != wrong["views"]).sum(), wrong["head"].sum() - wrong["views"].sum()
        rows.append(
            [*(wrong[name].mean() for name in ways), *truth.values(), gain, differ**0.5, *seconds.values()]
        )
        print(f"{seed}: {gain} fewer wrong, ± {differ**0.5:.1f}", flush=True)
    table = np.array(rows, float)
    means, taken = table.mean(0), int((table[:, 4] > 0).sum())
    spread = (table[:, 2] - table[:, 3]).std() / len(rows) ** 0.5
    print(
        f"| {len(own)} of {len(photos.classes)} kinds | {means[0]:.1%}, {means[1]:.1%} "
        f"| {means[2]:.2%}, {means[3]:.2%} (± {spread:.2%}) | {means[4]:.1f} ± {means[5]:.1f} "
        f"| {taken} of {len(rows)} | {means[6]:.1f}, {means[7]:.1f} |"
    )


if __name__ == "__main__":
    main()
