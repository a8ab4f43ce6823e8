"""What cross-validation brings: `python -m bench.folds FOLDER --pictures 300 --repeats 40`.

Of a folder with a sub-folder a class, so many photographs are drawn, and divided as ever: 15 % to test with, 15 % for
validation, 70 % to learn from. Then two ways: the head learns from the latter, and validation pictures say what
temperature, threshold and least familiarity are; or it learns from both, and a cross-validation says. All photographs
that were not drawn tell how good each is, and how near its own numbers came."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.training import Photographs
from greenr_luigi.evaluation import calibration, familiarity
from greenr_luigi.evaluation.evaluate import COVERAGE_OF_EACH
from greenr_luigi.inference import is_answer
from greenr_luigi.intervals import wilson
from greenr_luigi.training import cross_validation, folds, heads, linear_head
from greenr_luigi.training.libraries import fv
from tests.progress import quiet

Row = dict[str, float]


def drawn(y: np.ndarray, pictures: int, seed: int) -> list[np.ndarray]:
    """Numbers of pictures: to learn from, to validate and to test with, and all others."""
    generator, parts = np.random.default_rng(seed), []
    each, held = pictures // (y.max() + 1), round(0.15 * pictures / (y.max() + 1))
    for label in range(y.max() + 1):
        order = generator.permutation(np.flatnonzero(y == label))
        parts.append(np.split(order, [each - 2 * held, each - held, each]))
    return [np.sort(np.concatenate(part)) for part in zip(*parts, strict=True)]


def ways(photos: Photographs, pictures: int, seed: int) -> dict[str, Row]:
    x, y, flat, labels = photos.x, photos.y, photos.x.flatten(1).numpy(), photos.y.numpy()
    learn, valid, test, others = drawn(labels, pictures, seed)
    training = replace(photos.training, seed=seed)

    def head() -> torch.nn.Module:
        torch.manual_seed(seed)
        return fv.create_head(x.shape[1], len(photos.classes), lin_ftrs=[], concat_pool=False)

    def way(rows: np.ndarray, chosen: tuple[np.ndarray, ...]) -> Row:
        """`rows`: what is learned from; `chosen`: logits, labels and familiarity of what says the three numbers."""
        made = head()
        heads.fit(made, (x[rows], y[rows]), None, training, quiet)
        folded, centers = linear_head.folded(made.eval()), familiarity.class_centers(flat[rows], labels[rows])
        temperature = calibration.fit_temperature(*chosen[:2])
        sure = calibration.threshold(calibration.softmax(chosen[0], temperature).max(1), COVERAGE_OF_EACH)
        near = calibration.threshold(chosen[2], COVERAGE_OF_EACH)
        said = calibration.softmax(folded.logits(x[others]), temperature)
        answered = is_answer(said.max(1), familiarity.familiarity(flat[others], centers), sure, near)
        on_test = int((folded.logits(x[test]).argmax(1) != labels[test]).sum())
        low, high = wilson(on_test, len(test))
        error = float((said.argmax(1) != labels[others]).mean())
        return {
            "error": error,
            "loss": calibration.negative_log_likelihood(said, labels[others]),
            "calibration error": calibration.expected_calibration_error(said, labels[others]),
            "coverage": float(answered.mean()),
            "told error": on_test / len(test),
            "width": high - low,
            "off": on_test / len(test) - error,
            "held": float(low <= error <= high),
        }

    first = head()
    heads.fit(first, (x[learn], y[learn]), None, training, quiet)
    near = familiarity.familiarity(flat[valid], familiarity.class_centers(flat[learn], labels[learn]))
    by_valid = way(learn, (linear_head.folded(first.eval()).logits(x[valid]), labels[valid], near))

    both = np.sort(np.concatenate([learn, valid]))
    fold = folds.divide(labels[both], [str(i) for i in both], seed)
    logits = cross_validation.out_of_fold(head(), x[both], y[both], fold, training, quiet).logits(x[both])
    centers = familiarity.centers_by_fold(flat[both], labels[both], fold, folds.FOLDS)
    crossed = way(both, (logits, labels[both], familiarity.out_of_fold(flat[both], centers, fold)))
    wrong = int((logits.argmax(1) != labels[both]).sum())
    low, high = wilson(wrong, len(both))
    told = wrong / len(both)
    held = float(low <= crossed["error"] <= high)
    crossed |= {"told error": told, "width": high - low, "off": told - crossed["error"], "held": held}
    return {"validation": by_valid, "cross-validation": crossed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    photos = Photographs(options.folder)
    found = [ways(photos, options.pictures, seed) for seed in range(options.repeats)]
    print(
        "| judged by | error | loss | calibration error | answered, spread | interval | holds the error in "
        "| told error off by |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in found[0]:
        mean = {key: np.mean([one[name][key] for one in found]) for key in found[0][name]}
        spread = np.std([one[name]["coverage"] for one in found])
        off = np.sqrt(np.mean([one[name]["off"] ** 2 for one in found]))
        print(
            f"| {name} | {mean['error']:.1%} | {mean['loss']:.3f} | {mean['calibration error']:.1%} | "
            f"{mean['coverage']:.1%}, {spread:.1%} | {mean['width']:.1%} | {mean['held']:.0%} "
            f"| {off:.1%}, {mean['off']:+.1%} on average |"
        )


if __name__ == "__main__":
    main()
