"""How far a model seems better than it is where burst shots stand on both sides of its split: `python -m bench.groups
FOLDER [PHOTOGRAPHS]`.

FOLDER holds photographs, a sub-folder a class. Of so many of each (default 24), five shifted parts make a burst, and as
many others are the world, which tells the truth. Prints the table of docs/benchmarks-appendix.md.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench.training import Photographs, head, say
from greenr_luigi.dataset.rows import read_manifest
from greenr_luigi.dataset.split import Division, split
from tests.progress import quiet
from tests.sources.collecting import collect_from

BURST, SEEDS = 5, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photographs", type=int, nargs="?", default=24)
    asked = parser.parse_args()
    folder, number = asked.folder.absolute(), asked.photographs
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for label in sorted(path.name for path in folder.iterdir()):
            photographs = sorted((folder / label).glob("*.jpg"))
            rng.shuffle(photographs)
            for kind in ("bursts", "world"):
                (root / kind / label).mkdir(parents=True)
            for n, path in enumerate(photographs[:number]):
                image = Image.open(path).convert("RGB")
                for shot in range(BURST):
                    part(image, rng).save(root / "bursts" / label / f"{n:03}_{shot}.jpg", quality=90)
            for path in photographs[number : 2 * number]:
                (root / "world" / label / path.name).symlink_to(path)
        table(root)


def part(image: Image.Image, rng: random.Random) -> Image.Image:
    """Three quarters of each side, from anywhere."""
    width, height = image.width * 3 // 4, image.height * 3 // 4
    x, y = rng.randrange(image.width - width), rng.randrange(image.height - height)
    return image.crop((x, y, x + width, y + height))


def table(root: Path) -> None:
    shots, world = Photographs(root / "bursts"), Photographs(root / "world")
    places = {}
    for label in shots.classes:
        places[label] = root / f"collected {label}"
        collect_from("folder", label, places[label], folder=root / "bursts", root=root / "data")
    at = {path.relative_to(root / "bursts").as_posix(): n for n, path in enumerate(shots.paths)}
    print("| | test pictures | error on them | error on other photographs |\n| --- | --- | --- | --- |")
    for words, pattern in (("without groups", ""), ("`--group '(.+)_'`", "(.+)_")):
        found = []
        for seed in range(SEEDS):
            out = root / f"split {pattern and 'grouped'} {seed}"
            out.mkdir()
            split(places, out, Division(seed, group=pattern), curation=None, on_progress=quiet)
            rows = read_manifest(out)
            train, test = (
                [at[str(row.file_url)] for row in rows if row.side == side] for side in ("train", "test")
            )
            made = head(shots, shots.x[train], shots.y[train], seed)
            errors = [
                float((say(made, p.x[places_]).argmax(1) != p.y[places_].numpy()).mean())
                for p, places_ in ((shots, test), (world, list(range(len(world.paths)))))
            ]
            found.append([len(test), *errors])
        tested, own, true = np.mean(found, 0)
        print(f"| {words} | {tested:.0f} | {100 * own:.1f} % | {100 * true:.1f} % |")


if __name__ == "__main__":
    main()
