"""How long training takes and how good it is, against the tutorial's recipe: `python -m bench.training PART`.

Every part looks at the same photographs (--photos, a folder with a sub-folder a class) in the same folds, on
the machine that it runs on, and prints a table for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.model_selection import RepeatedStratifiedKFold

from greenr_luigi.dataset.rows import LabelRow
from greenr_luigi.evaluation import calibration, familiarity, label_issues
from greenr_luigi.training import architectures, features, folds, heads
from greenr_luigi.training import recipes as recipe
from greenr_luigi.training.libraries import fv
from greenr_luigi.training.recipes import Ingredients
from greenr_luigi.training.saved_model import Training, Weights
from tests.progress import quiet

SIZE = 224
EPOCHS = 12
Fold = tuple[np.ndarray, np.ndarray]
#: Logits of the held-out pictures; seconds by the wall and of the processor.
Tried = tuple[np.ndarray, np.ndarray]


class Photographs:
    """The pictures, their class numbers, and the body's features of them and of others made from them, each
    looked at when first asked for."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.classes = sorted({path.parent.name for path in self.paths})
        self.y = torch.tensor([self.classes.index(path.parent.name) for path in self.paths])
        self.architecture = architectures.find(architectures.DEFAULT)
        a = self.architecture
        weights = Weights(a.weights, a.license)
        mean, std = list(a.mean), list(a.std)
        self.training = Training(
            a.name, self.classes, SIZE, mean, std, "head", EPOCHS, seed=0, weights=weights
        )
        self.learn = self.learner()
        #: Seconds by the wall and of the processor to look at all pictures once.
        self.look = np.zeros(2)

    @functools.cached_property
    def x(self) -> torch.Tensor:
        start = clocks()
        found = self.features(self.paths)
        self.look = clocks() - start
        return found

    @functools.cached_property
    def views(self) -> torch.Tensor:
        """As the recipe `views` takes them: (views, pictures, features, 1, 1), the first of the picture itself."""
        return torch.stack([self.x, *(self.features(self.paths, view) for view in recipe.VIEWS[1:])])

    def learner(self) -> Any:
        return architectures.learner(self.architecture, self.classes, SIZE, pretrained=True)

    def features(self, paths: list[Path], view: int = 0) -> torch.Tensor:
        return features.pooled(self.learn, paths, self.training, quiet, view)

    def folds(self, repeats: int) -> Iterator[Fold]:
        yield from RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0).split(
            self.paths, self.y
        )


#: A fold and a seed to what came of it.
Recipe = Callable[[Photographs, Fold, int], Tried]


def head(
    photos: Photographs, x: torch.Tensor, y: torch.Tensor, seed: int, epochs: int = EPOCHS, **options: Any
) -> torch.nn.Module:
    """`options` are those of fastai's Learner."""
    torch.manual_seed(seed)
    made = fv.create_head(x.shape[1], int(y.max()) + 1, lin_ftrs=[], concat_pool=False)
    training = dataclasses.replace(photos.training, epochs=epochs, seed=seed)
    heads.fit(made, (x, y), (x[:1], y[:1]), training, quiet, **options)
    return made.eval()


def say(model: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model(x).numpy()


def clocks() -> np.ndarray:
    """Seconds by the wall and of the processor; the second does not mind what else the machine does."""
    return np.array([time.perf_counter(), time.process_time()])


def tutorial(photos: Photographs, fold: Fold, seed: int) -> Tried:
    """The tutorial's recipe in plain fastai: a frozen body that sees augmented pictures at each of four
    epochs."""
    # With memory kept, as the features have it, this takes half the time: it must come before them.
    assert not features.keep_memory.cache_info().currsize
    held = fold[1]
    fv.set_seed(seed)
    architecture = photos.architecture
    block = fv.DataBlock(
        blocks=(fv.ImageBlock, fv.CategoryBlock(vocab=photos.classes)),
        get_y=fv.parent_label,
        splitter=fv.IndexSplitter(list(held)),
        item_tfms=fv.RandomResizedCrop(SIZE, min_scale=0.5),
        batch_tfms=[*fv.aug_transforms(), fv.Normalize.from_stats(architecture.mean, architecture.std, cuda=False)],
    )  # fmt: skip
    loaders = block.dataloaders(photos.paths, bs=64, num_workers=0)
    learn = fv.vision_learner(
        loaders, photos.architecture.build, pretrained=False, normalize=False, metrics=fv.error_rate
    )
    learn.model[0].load_state_dict(photos.learner().model[0].state_dict())
    learn.freeze()
    start = clocks()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4)
        seconds = clocks() - start
        said, _ = learn.get_preds(
            dl=loaders.test_dl([photos.paths[i] for i in held], num_workers=0), act=fv.noop
        )
    return said.numpy(), seconds


def of_features(looks: int, run: Callable[[Photographs, Fold, int], np.ndarray]) -> Recipe:
    """A recipe for the head. Its time is the head's and that of as many looks at all pictures, the held-out
    ones too, as fastai validates on them."""

    def recipe(photos: Photographs, fold: Fold, seed: int) -> Tried:
        _ = photos.x, photos.views if looks > 1 else None
        start = clocks()
        said = run(photos, fold, seed)
        return said, looks * photos.look + clocks() - start

    return recipe


def finetuned(photos: Photographs, fold: Fold, seed: int) -> Tried:
    """The recipe `finetune`."""
    start = clocks()
    learn = photos.learner()
    sides = [([photos.paths[i] for i in side], photos.y[side]) for side in fold]
    training = dataclasses.replace(photos.training, seed=seed)
    groups = [path.name for path in sides[0][0]]
    recipe.fit_network(Ingredients(learn, *sides, training, fold[1], groups=groups), quiet)
    seconds = clocks() - start
    pooled = features.pooled(learn, sides[1][0], photos.training, quiet)
    return say(learn.model[1].cpu().eval(), pooled), seconds


def of_views(p: Photographs, fold: Fold, seed: int) -> np.ndarray:
    """The recipe `views`."""
    rest, held = fold
    y = p.y[rest].repeat(len(p.views))
    return say(head(p, torch.cat([*p.views[:, rest]]), y, seed, weight_decay=recipe.WEIGHT_DECAY), p.x[held])


def plain(**how: Any) -> Recipe:
    def run(p: Photographs, fold: Fold, seed: int) -> np.ndarray:
        rest, held = fold
        return say(head(p, p.x[rest], p.y[rest], seed, **how), p.x[held])

    return of_features(1, run)


#: The tutorial's first, as it must not find memory kept.
RECIPES: dict[str, Recipe] = {
    "tutorial": tutorial,
    "head, 12 epochs (default)": plain(),
    "head, 4 epochs": plain(epochs=4),
    "head, 30 epochs": plain(epochs=30),
    "head, label smoothing 0.1": plain(loss_func=fv.LabelSmoothingCrossEntropyFlat(0.1)),
    "head, mixup 0.4": plain(cbs=[fv.MixUp(0.4)]),
    "head, three parts of each (views)": of_features(len(recipe.VIEWS), of_views),
    "finetune": finetuned,
}


def recipes(photos: Photographs, options: argparse.Namespace) -> None:
    """Mean error over repeated 5-fold cross-validation, spread over the repeats, loss, and seconds a
    training. With --results, each fold is a line of that file, and what is there is not run again."""
    begun = time.monotonic()
    rows = [*map(json.loads, options.results.read_text().splitlines())] if options.results.exists() else []
    done = {(row["recipe"], row["fold"]) for row in rows}
    for name in options.only.split(";") if options.only else RECIPES:
        for n, fold in enumerate(photos.folds(options.repeats)):
            if (name, n) in done or time.monotonic() - begun > options.seconds:
                continue
            said, (wall, cpu) = RECIPES[name](photos, fold, n)
            truth = photos.y[fold[1]].numpy()
            loss = calibration.negative_log_likelihood(calibration.softmax(said), truth)
            row = {"recipe": name, "fold": n, "wrong": int((said.argmax(1) != truth).sum()), "of": len(truth)}
            row |= {"loss": loss, "wall": wall, "cpu": cpu}
            rows.append(row)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print("| recipe | folds | error | spread | loss | seconds | of the processor |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in RECIPES:
        found = [row for row in rows if row["recipe"] == name]
        if found:
            repeats = [found[k : k + 5] for k in range(0, len(found), 5)]
            errors = [sum(r["wrong"] for r in some) / sum(r["of"] for r in some) for some in repeats]
            loss, wall, cpu = (np.mean([row[key] for row in found]) for key in ("loss", "wall", "cpu"))
            error = sum(r["wrong"] for r in found) / sum(r["of"] for r in found)
            spread = f"{np.std(errors):.2%}" if len(errors) > 1 else ""
            print(f"| {name} | {len(found)} | {error:.2%} | {spread} | {loss:.3f} | {wall:.1f} | {cpu:.1f} |")


def noise(photos: Photographs, options: argparse.Namespace) -> None:
    """Labels flipped on purpose in each fold's training part: how many are found, and what taking the
    label issues out, or relabelling them as suggested, does to the error on the held-out part, whose labels are
    left as they are."""
    print(
        "| flipped | found (recall) | right (precision) | error before | label issues out | label "
        "issues relabelled | no flips |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    x, classes = photos.x, photos.classes
    for share in (0.05, 0.10, 0.20):
        hits = planted = named = 0
        errors: dict[str, list[float]] = {"before": [], "out": [], "relabelled": [], "clean": []}
        for seed, (rest, held) in enumerate(photos.folds(options.repeats)):
            y, truth = photos.y[rest], photos.y[held].numpy()
            flips = np.random.default_rng(seed).permutation(len(rest))[: round(share * len(rest))]
            noisy = y.clone()
            noisy[flips] = 1 - noisy[flips]
            rows = [LabelRow(str(i), classes[int(k)], "", "train") for i, k in enumerate(noisy)]
            fold = folds.divide(noisy.numpy(), [str(i) for i in rest], seed)
            others = label_issues.out_of_fold_probabilities(x[rest].flatten(1).numpy(), noisy.numpy(), fold)
            found = {
                int(s.file): classes.index(s.suggested)
                for s in label_issues.find_label_issues(rows, others, classes)
            }
            hits += len(found.keys() & set(map(int, flips)))
            planted += len(flips)
            named += len(found)
            keep = np.array([i for i in range(len(rest)) if i not in found])
            mended = noisy.clone()
            for i, k in found.items():
                mended[i] = k
            for name, (a, b) in {
                "before": (x[rest], noisy), "out": (x[rest][keep], noisy[keep]),
                "relabelled": (x[rest], mended), "clean": (x[rest], y),
            }.items():  # fmt: skip
                errors[name].append((say(head(photos, a, b, seed), x[held]).argmax(1) != truth).mean())
        cells = " | ".join(f"{np.mean(values):.1%}" for values in errors.values())
        print(f"| {share:.0%} | {hits / planted:.0%} | {hits / max(1, named):.0%} | {cells} |", flush=True)


def outsiders(folder: Path) -> list[Path]:
    """Pictures of neither class: scikit-learn's and scikit-image's own sample photographs, whole and in
    quarters, and drawings. Nothing is fetched; what a package has not brought is left out."""
    found: list[Image.Image] = []
    import skimage.data
    from sklearn.datasets import load_digits, load_sample_images

    for array in load_sample_images().images:
        found.append(Image.fromarray(array))
    for file in sorted(Path(skimage.data.__file__).parent.glob("*.*")):
        # The package's own picture of grass is no outsider.
        if file.suffix in {".png", ".jpg"} and "grass" not in file.name:
            found.append(Image.open(file).convert("RGB"))
    for image in found.copy():
        w, h = image.size
        found += [image.crop((x, y, x + w // 2, y + h // 2)) for x in (0, w // 2) for y in (0, h // 2)]
    found += [
        Image.fromarray((d * 15).astype(np.uint8)).resize((128, 128)).convert("RGB")
        for d in load_digits().images[:40]
    ]
    generator = np.random.default_rng(0)
    for _ in range(40):
        image = Image.new("RGB", (200, 200), tuple(map(int, generator.integers(0, 256, 3))))
        draw = ImageDraw.Draw(image)
        for _ in range(int(generator.integers(1, 8))):
            x, y, r = map(int, generator.integers(10, 160, 3))
            colour = tuple(map(int, generator.integers(0, 256, 3)))
            (draw.ellipse if generator.random() < 0.5 else draw.rectangle)((x, y, x + r, y + r), fill=colour)
        found.append(image)
    paths = []
    for i, image in enumerate(image for image in found if min(image.size) >= 32):
        paths.append(folder / f"{i:04}.png")
        image.convert("RGB").save(paths[-1])
    return paths


def neither(photos: Photographs, options: argparse.Namespace) -> None:
    """What "I can't tell" does to pictures of the classes and of neither: by the threshold alone, by familiarity
    alone, and by both, as in use; each chosen on a validation fifth of each fold's training part."""
    with tempfile.TemporaryDirectory() as folder:
        paths = outsiders(Path(folder))
        strange = photos.features(paths)
    print(f"{len(paths)} pictures of neither class.\n")
    print(
        "| an answer needs | coverage asked | answered | wrong of all | wrong of answered | answers to neither |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    rows: dict[tuple[str, float], list[list[float]]] = {}
    errors = []
    for seed, (rest, held) in enumerate(photos.folds(options.repeats)):
        shuffled = np.random.default_rng(seed).permutation(rest)
        valid, train = shuffled[: len(rest) // 5], shuffled[len(rest) // 5 :]
        y = photos.y.numpy()
        model = head(photos, photos.x[train], photos.y[train], seed)
        t = calibration.fit_temperature(say(model, photos.x[valid]).astype(float), y[valid])
        known = familiarity.class_centers(photos.x[train].flatten(1).numpy(), y[train])

        def see(
            x: torch.Tensor, model: Any = model, t: float = t, known: Any = known
        ) -> tuple[np.ndarray, ...]:
            near = familiarity.familiarity(x.flatten(1).numpy(), known)
            said = calibration.softmax(say(model, x), t)
            return said.argmax(1), said.max(1), near

        _, sure, near = see(photos.x[valid])
        looked = see(photos.x[held]), see(strange)
        wrong = looked[0][0] != y[held]
        for coverage in (0.90, 0.95, 0.975):
            each = 1 - (1 - coverage) / 2
            for what, p, f in (
                ("threshold", coverage, 1),
                ("familiarity", 1, coverage),
                ("both", each, each),
            ):
                least = (
                    calibration.threshold(sure, p) if p < 1 else 0,
                    calibration.threshold(near, f) if f < 1 else -1,
                )
                answered, strangers = ((one[1] >= least[0]) & (one[2] >= least[1]) for one in looked)
                cells = [answered.mean(), wrong.mean(), wrong[answered].mean(), strangers.mean()]
                rows.setdefault((what, coverage), []).append(cells)
        raw = say(model, photos.x[held])
        errors.append([
            calibration.expected_calibration_error(calibration.softmax(raw, at), y[held]) for at in (1, t)
        ])  # fmt: skip
    for (what, coverage), found in sorted(rows.items(), key=lambda row: row[0][1]):
        print(
            f"| {what} | {coverage:.1%} | " + " | ".join(f"{value:.1%}" for value in np.mean(found, 0)) + " |"
        )
    before, after = np.mean(errors, 0)
    print(f"\ncalibration error {before:.1%} before the temperature, {after:.1%} after")


def many(photos: Photographs, options: argparse.Namespace) -> None:
    """Seconds a stage and error by number of classes: each a letter and a colour, drawn 24 times."""
    import io

    from greenr_luigi import contracts
    from greenr_luigi.evaluation import evaluate
    from greenr_luigi.evaluation.metrics import Metrics
    from greenr_luigi.export import onnx_export
    from greenr_luigi.training import train
    from tests.walk import split

    def drawn(classes: int) -> Iterator[tuple[str, str, bytes]]:
        generator = np.random.default_rng(0)
        for k in range(classes):
            letter, colour = "AEHKMRSTXZ"[k % 10], ("red", "gold", "lime", "cyan", "magenta")[k // 10]
            for i in range(24):
                image = Image.new("RGB", (160, 160), tuple(map(int, generator.integers(0, 90, 3))))
                place = tuple(map(int, generator.integers(0, 70, 2)))
                ImageDraw.Draw(image).text(place, letter, colour, font_size=int(generator.integers(60, 100)))
                file = io.BytesIO()
                image.save(file, "JPEG", quality=90)
                yield f"{colour} {letter}", ("valid", "test", "train", "train")[i % 4], file.getvalue()

    print("| classes | pictures | TrainModel | EvaluateModel | ExportModel | error |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for classes in (2, 10, 50):
        with tempfile.TemporaryDirectory() as folder:
            dataset, model, evaluated, exported = (Path(folder) / name for name in "dmex")
            for place in (dataset, model, evaluated, exported):
                place.mkdir()
            split(dataset, drawn(classes))
            seconds = [time.perf_counter()]
            how = train.Hyperparameters(architectures.DEFAULT, EPOCHS, seed=1, image_size=SIZE)
            train.train(dataset, model, how, on_progress=quiet)
            seconds.append(time.perf_counter())
            evaluate.evaluate(dataset, model, evaluated, on_progress=quiet)
            seconds.append(time.perf_counter())
            onnx_export.export(dataset, model, evaluated, exported, on_progress=quiet)
            seconds.append(time.perf_counter())
            error = contracts.read(evaluated / "metrics.json", Metrics).error
        stages = " | ".join(f"{s:.1f} s" for s in np.diff(seconds))
        print(f"| {classes} | {24 * classes} | {stages} | {error:.1%} |", flush=True)


PARTS = {"recipes": recipes, "noise": noise, "neither": neither, "many": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--photos", type=Path, default=Path(__file__).parents[2] / "shared" / "photos")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the 5-fold cross-validation (3)")
    parser.add_argument("--only", default="", help="recipes: names of some, with ; between them")
    parser.add_argument("--results", type=Path, default=Path("recipes.jsonl"), help="recipes: where to go on")
    parser.add_argument("--seconds", type=float, default=1e9, help="recipes: begin no fold after so many")
    options = parser.parse_args()
    photos = Photographs(options.photos)
    print(f"{len(photos.paths)} photographs, {os.cpu_count()} cores, torch {torch.__version__}\n", flush=True)
    PARTS[options.part](photos, options)


if __name__ == "__main__":
    main()
