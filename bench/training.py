"""How long training takes and how good it is, against the tutorial's recipe: `python -m bench.training PART`.

Every part looks at the same photographs (--photos, a folder with a sub-folder a class) in the same folds, on
the machine that it runs on, and prints a table for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from sklearn.model_selection import RepeatedStratifiedKFold

from greenr_luigi import architectures, calibration, features, finetuning, heads, suspects
from greenr_luigi.libraries import fv
from greenr_luigi.manifest import SplitRow
from greenr_luigi.progress import quiet

SIZE = 224
EPOCHS = 12
Fold = tuple[np.ndarray, np.ndarray]


class Photographs:
    """The pictures, their class numbers, and the body's features of them and of their mirror images."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*/*.jpg"))
        self.classes = sorted({path.parent.name for path in self.paths})
        self.y = torch.tensor([self.classes.index(path.parent.name) for path in self.paths])
        self.architecture = architectures.find(architectures.DEFAULT)
        self.learn = self.learner()
        start = time.perf_counter()
        self.x = self.features(self.paths)
        self.seconds = time.perf_counter() - start

    def learner(self) -> object:
        return architectures.learner(self.architecture, self.classes, SIZE, pretrained=True)

    def features(self, paths: list[Path], flip: bool = False) -> torch.Tensor:
        a = self.architecture
        return features.pooled(self.learn, paths, SIZE, a.mean, a.std, quiet, flip)

    def folds(self, repeats: int) -> Iterator[Fold]:
        yield from RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=0).split(
            self.x, self.y
        )


def head(
    x: torch.Tensor, y: torch.Tensor, seed: int, epochs: int = EPOCHS, smoothing: float = 0.0
) -> torch.nn.Module:
    torch.manual_seed(seed)
    made = fv.create_head(x.shape[1], int(y.max()) + 1, lin_ftrs=[], concat_pool=False)
    heads.fit(made, (x, y), (x[:1], y[:1]), epochs, seed, quiet, smoothing)
    return made.eval()


def say(model: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model(x).numpy()


def tutorial(photos: Photographs, fold: Fold, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The tutorial's recipe in plain fastai: a frozen body that sees augmented pictures at each of four
    epochs."""
    held = fold[1]
    torch.manual_seed(seed)
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
    with learn.no_bar(), learn.no_logging():
        said, _ = learn.get_preds(
            dl=loaders.test_dl([photos.paths[i] for i in held], num_workers=0), act=fv.noop
        )
    return said.numpy(), seconds


def clocks() -> np.ndarray:
    """Seconds by the wall and of the processor; the second does not mind what else the machine does."""
    return np.array([time.perf_counter(), time.process_time()])


def yardstick(photos: Photographs, options: argparse.Namespace) -> None:
    """Seconds of training and error of the tutorial's recipe and of ours, on the first --folds folds."""
    theirs, ours, wrong, ours_wrong, n = [], [], 0, 0, 0
    for seed, fold in enumerate(photos.folds(1)):
        if seed >= options.folds:
            break
        rest, held = fold
        truth = photos.y[held].numpy()
        start = clocks()
        x = photos.features([photos.paths[i] for i in rest])
        model = head(x, photos.y[rest], seed)
        ours.append(clocks() - start)
        ours_wrong += int((say(model, photos.x[held]).argmax(1) != truth).sum())
        said, seconds = tutorial(photos, fold, seed)
        theirs.append(seconds)
        wrong += int((said.argmax(1) != truth).sum())
        n += len(held)
        print(
            f"fold {seed}: tutorial {theirs[-1]}, ours {ours[-1]}, wrong {wrong} and {ours_wrong} of {n}",
            flush=True,
        )
    (wall, cpu), (our_wall, our_cpu) = np.mean(theirs, 0), np.mean(ours, 0)
    print("\n| recipe | training, s | of the processor, s | error |\n| --- | ---: | ---: | ---: |")
    print(f"| the tutorial's | {wall:.1f} | {cpu:.1f} | {wrong / n:.1%} |")
    print(f"| ours | {our_wall:.1f} | {our_cpu:.1f} | {ours_wrong / n:.1%} |")
    print(f"| ratio | 1 / {wall / our_wall:.0f} | 1 / {cpu / our_cpu:.0f} | |")


def recipes(photos: Photographs, options: argparse.Namespace) -> None:
    """Mean error over repeated 5-fold cross-validation, spread over the repeats, loss, and seconds a
    training."""
    mirrored = photos.features(photos.paths, flip=True)
    look = photos.seconds * 0.8
    x, y = photos.x, photos.y

    def fine(rest: np.ndarray, held: np.ndarray, seed: int) -> np.ndarray:
        learn = photos.learner()
        heads.fit(learn.model[1], (x[rest], y[rest]), (x[held], y[held]), EPOCHS, seed, quiet)
        info = {"image_size": SIZE, "mean": photos.architecture.mean, "std": photos.architecture.std}
        sides = [([photos.paths[i] for i in side], y[side]) for side in (rest, held)]
        finetuning.fit(learn, *sides, info, seed, quiet)
        seen = features.pooled(learn, sides[1][0], SIZE, info["mean"], info["std"], quiet)
        return say(learn.model[1].cpu().eval(), seen)

    def both(rest: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([x[rest], mirrored[rest]]), torch.cat([y[rest], y[rest]])

    tried: dict[str, tuple[float, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]] = {
        "head, 12 epochs (default)": (look, lambda r, h, s: say(head(x[r], y[r], s), x[h])),
        "head, 4 epochs": (look, lambda r, h, s: say(head(x[r], y[r], s, 4), x[h])),
        "head, 30 epochs": (look, lambda r, h, s: say(head(x[r], y[r], s, 30), x[h])),
        "head, label smoothing 0.1": (look, lambda r, h, s: say(head(x[r], y[r], s, smoothing=0.1), x[h])),
        "mirrored": (2 * look, lambda r, h, s: say(head(*both(r), s), x[h])),
        "mirrored, averaged over both when asked": (
            2 * look,
            lambda r, h, s: (say(m := head(*both(r), s), x[h]) + say(m, mirrored[h])) / 2,
        ),
    }
    if options.finetune:
        tried = {"finetune": (look, fine)}
    print(
        "| recipe | error, mean of repeats | spread | loss | seconds |\n| --- | ---: | ---: | ---: | ---: |",
        flush=True,
    )
    for name, (before, run) in tried.items():
        errors, losses, seconds = [], [], []
        for seed, (rest, held) in enumerate(photos.folds(options.repeats)):
            start = time.perf_counter()
            said = run(rest, held, seed)
            seconds.append(time.perf_counter() - start)
            truth = y[held].numpy()
            errors.append((said.argmax(1) != truth).mean())
            losses.append(calibration.loss(calibration.softmax(said), truth))
        by_repeat = np.array(errors).reshape(-1, 5).mean(1)
        print(
            f"| {name} | {by_repeat.mean():.2%} | {by_repeat.std():.2%} | {np.mean(losses):.3f} | "
            f"{before + np.mean(seconds):.1f} |",
            flush=True,
        )


def noise(photos: Photographs, options: argparse.Namespace) -> None:
    """Labels flipped on purpose in each fold's training part: how many are found, and what taking the
    suspects out, or relabelling them as suggested, does to the error on the held-out part, whose labels are
    left as they are."""
    print(
        "| flipped | found (recall) | right (precision) | error before | suspects out | suspects "
        "relabelled | no flips |"
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
            rows = [
                SplitRow(str(i), classes[int(k)], "", "", 0, 0, 0, "", side="train")
                for i, k in enumerate(noisy)
            ]
            others = suspects.out_of_fold(x[rest], noisy.numpy(), seed)
            found = {int(s.file): classes.index(s.suggested) for s in suspects.find(rows, others, classes)}
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
                errors[name].append((say(head(a, b, seed), x[held]).argmax(1) != truth).mean())
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
    """What the threshold for "I can't tell" does to pictures of the classes and of neither, by coverage
    asked for on a validation quarter of each fold's training part."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = outsiders(Path(folder))
        strange = photos.features(paths)
    print(f"{len(paths)} pictures of neither class.\n")
    print(
        "| coverage asked | answered | wrong of all | wrong of answered | answers to neither | calibration "
        "error before | after |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows: dict[float, list[list[float]]] = {0.90: [], 0.95: [], 0.97: [], 0.99: []}
    for seed, (rest, held) in enumerate(photos.folds(options.repeats)):
        shuffled = np.random.default_rng(seed).permutation(rest)
        valid, train = shuffled[: len(rest) // 5], shuffled[len(rest) // 5 :]
        model = head(photos.x[train], photos.y[train], seed)
        t = calibration.temperature(say(model, photos.x[valid]).astype(float), photos.y[valid].numpy())
        chosen = calibration.softmax(say(model, photos.x[valid]), t)
        truth = photos.y[held].numpy()
        raw = say(model, photos.x[held])
        p, q = calibration.softmax(raw, t), calibration.softmax(say(model, strange), t)
        wrong = p.argmax(1) != truth
        for coverage, cells in rows.items():
            least = calibration.threshold(chosen, coverage)
            answered = p.max(1) >= least
            cells.append([
                answered.mean(), wrong.mean(), wrong[answered].mean(), (q.max(1) >= least).mean(),
                calibration.expected_calibration_error(calibration.softmax(raw), truth),
                calibration.expected_calibration_error(p, truth),
            ])  # fmt: skip
    for coverage, cells in rows.items():
        print(f"| {coverage:.0%} | " + " | ".join(f"{value:.1%}" for value in np.mean(cells, 0)) + " |")


def many(photos: Photographs, options: argparse.Namespace) -> None:
    """Seconds a stage and error by number of classes: each a letter and a colour, drawn 24 times."""
    import io
    import tempfile

    from greenr_luigi import evaluation, export, training
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
            training.train(
                dataset,
                model,
                arch=architectures.DEFAULT,
                epochs=EPOCHS,
                seed=1,
                image_size=SIZE,
                on_progress=quiet,
            )
            seconds.append(time.perf_counter())
            evaluation.evaluate(dataset, model, evaluated, on_progress=quiet)
            seconds.append(time.perf_counter())
            export.export(dataset, model, evaluated, exported, on_progress=quiet)
            seconds.append(time.perf_counter())
            error = json.loads((evaluated / "metrics.json").read_text())["error"]
        stages = " | ".join(f"{s:.1f} s" for s in np.diff(seconds))
        print(f"| {classes} | {24 * classes} | {stages} | {error:.1%} |", flush=True)


PARTS = {"yardstick": yardstick, "recipes": recipes, "noise": noise, "neither": neither, "many": many}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--photos", type=Path, default=Path(__file__).parents[2] / "shared" / "photos")
    parser.add_argument("--folds", type=int, default=5, help="folds of the yardstick (5)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the 5-fold cross-validation (3)")
    parser.add_argument(
        "--finetune", action="store_true", help="recipes: fine-tuning only, which takes minutes"
    )
    options = parser.parse_args()
    photos = Photographs(options.photos)
    print(
        f"{len(photos.paths)} photographs, {os.cpu_count()} cores, torch {torch.__version__}; features: "
        f"{photos.seconds:.1f} s\n"
    )
    PARTS[options.part](photos, options)


if __name__ == "__main__":
    main()
