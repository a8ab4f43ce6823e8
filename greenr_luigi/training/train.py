"""From a data set to a model: fastai's vision_learner, its body frozen and used once for each picture.

A frozen body gives the same features at every epoch, so they are computed once and the head alone is trained
on them, by fastai's own Learner and fit_one_cycle. The result is the vision_learner that plain fastai would
have made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from greenr_luigi.dataset import pixels
from greenr_luigi.pictures.manifest import SplitRow
from greenr_luigi.progress import OnProgress
from greenr_luigi.training.saved_model import DataSetError, write_json

#: With fewer than this a class has nothing to generalize from.
LEAST_TRAINING_PICTURES = 2
RESIZE = "squish-bilinear"
SHARES = {"head": (0.9, 0.9, 1.0), "mirrored": (0.45, 0.9, 1.0), "finetune": (0.1, 0.1, 0.12)}
RECIPES = tuple(SHARES)


def train(
    dataset: Path,
    out: Path,
    *,
    arch: str,
    epochs: int,
    seed: int,
    image_size: int,
    on_progress: OnProgress,
    recipe: str = "head",
) -> None:
    """Train on the side "train" of a SplitDataset folder, watch the side "valid", never look at the side
    "test"; write `model.safetensors` (the state dict) and `training.json` into the folder `out`.

    `epochs` are the head's. `recipe`: "head" trains the head only; "mirrored" does so on each picture and its
    mirror image; "finetune" then trains the whole network on. docs/benchmarks.md compares them.

    On a CPU, the same inputs, seed, machine and thread count give the same bytes.

    Raises DataSetError before any work if a side or a class is missing, ArchitectureError (architectures.py)
    if the architecture is not known or its weights cannot be had, ValueError for another recipe."""
    if recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}, expected one of {', '.join(RECIPES)}")
    train_rows, valid_rows = pixels.rows(dataset, "train"), pixels.rows(dataset, "valid")
    classes = check(dataset, train_rows, valid_rows)

    import torch
    from safetensors.torch import save_file

    from greenr_luigi.training import architectures, features, finetuning, heads

    on_progress(0, f"{len(train_rows)} pictures of {len(classes)} classes, {len(valid_rows)} to validate on")
    architecture = architectures.find(arch)
    info = {
        "arch": arch,
        "classes": classes,
        "image_size": image_size,
        "mean": architecture.mean,
        "std": architecture.std,
        "resize": RESIZE,
        "recipe": recipe,
        "epochs": epochs,
        "seed": seed,
        "weights": {"source": architecture.weights, "license": architecture.license},
    }
    torch.manual_seed(seed)
    learn = architectures.learner(architecture, classes, image_size, pretrained=True)
    paths = [dataset / row.file for row in train_rows + valid_rows]
    labels = torch.tensor([classes.index(row.label) for row in train_rows + valid_rows])
    n = len(train_rows)
    # What part of the work is done once all pictures, then their mirror images, then the head are through.
    looked, mirrored, learned = SHARES[recipe]
    mean, std = architecture.mean, architecture.std
    seen = features.pooled(learn, paths, image_size, mean, std, lambda f, w: on_progress(looked * f, w))
    x, y = seen[:n], labels[:n]
    if recipe == "mirrored":
        others = features.pooled(
            learn, paths[:n], image_size, mean, std,
            lambda f, w: on_progress(looked + (mirrored - looked) * f, w), flip=True,
        )  # fmt: skip
        x, y = torch.cat([x, others]), torch.cat([y, y])
    history = heads.fit(
        learn.model[1], (x, y), (seen[n:], labels[n:]), epochs, seed,
        lambda f, w: on_progress(min(mirrored + (learned - mirrored) * f, 0.999), w),
    )  # fmt: skip
    if recipe == "finetune":
        history += finetuning.fit(
            learn, (paths[:n], labels[:n]), (paths[n:], labels[n:]), info, seed,
            lambda f, w: on_progress(min(learned + (1 - learned) * f, 0.999), w),
        )  # fmt: skip
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in learn.model.state_dict().items()}
    save_file(state, out / "model.safetensors")
    write_json(out / "training.json", info | {"history": history})
    on_progress(1, f"trained; {history[-1]['error_rate']:.1%} of the validation pictures are wrong")


def check(dataset: Path, train_rows: list[SplitRow], valid_rows: list[SplitRow]) -> list[str]:
    """The sorted classes of a data set that can be trained on; raises DataSetError otherwise."""
    counts = Counter(row.label for row in train_rows)
    for side, rows in (("train", train_rows), ("valid", valid_rows)):
        if not rows:
            raise DataSetError(
                f"{dataset}: no picture is on the side {side!r}, expected at least one; ask for more pictures"
            )
    if len(counts) < 2:
        raise DataSetError(
            f"{dataset}: its classes are {sorted(counts)}, expected at least two; name more in --classes"
        )
    small = {label: n for label, n in sorted(counts.items()) if n < LEAST_TRAINING_PICTURES}
    unseen = sorted({row.label for row in valid_rows} - set(counts))
    if small or unseen:
        few = ", ".join(f"{label!r} ({n})" for label, n in (small | dict.fromkeys(unseen, 0)).items())
        raise DataSetError(
            f"{dataset}: too few pictures to train on: {few}; expected at least {LEAST_TRAINING_PICTURES} a "
            "class; "
            "raise --limit, or leave the class out of --classes"
        )
    return sorted(counts)
