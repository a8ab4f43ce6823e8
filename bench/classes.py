"""A whole run of many classes, and one with nothing to do beside a bare Luigi graph of as many tasks.

python -m bench.classes PHOTOGRAPHS HOME [--classes 1000] [--rounds 5]

PHOTOGRAPHS: a folder with one sub-folder a kind. HOME: where all is kept, so that a second call finds what was made.
Each class is one kind in colours of its own: 11 to 14 crops of different photographs of that kind.
"""

import argparse
import random
import statistics
from pathlib import Path

from bench.rejection import deploy, greenr, part_of
from bench.staleness import BARE, LUIGI, seconds

PORT = "8791"


def make_pictures(photographs: Path, folder: Path, classes: int) -> None:
    from PIL import ImageOps

    kinds = [sorted(path.iterdir()) for path in sorted(photographs.iterdir()) if path.is_dir()]
    for number in range(classes):
        chance, out = random.Random(number), folder / f"class {number:04d}"
        if out.exists():
            continue
        beside = out.with_name(f".{out.name}")
        beside.mkdir(parents=True, exist_ok=True)
        # A weight of each channel in each: rows of positive numbers whose sum is 1.
        rows = [[chance.expovariate(1) for _ in range(3)] for _ in range(3)]
        colours = [value for row in rows for value in (*(each / sum(row) for each in row), 0)]
        files = kinds[number % len(kinds)]
        for place, file in enumerate(chance.sample(files, chance.randint(11, 14))):
            part = part_of(file, chance, most_left_out=0.4, sides=(0.5, 0.6))
            # A square, since a thin part of a wide photograph would be refused as too small.
            image = ImageOps.fit(part, (160, 160))
            image.convert("RGB", tuple(colours)).save(beside / f"{place}.jpg", quality=85)
        beside.rename(out)


def nothing_to_do(home: Path, pictures: Path, classes: int, rounds: int) -> None:
    """Prints what a run takes, of the processor, while the page is served."""
    (home / "bare").mkdir(parents=True, exist_ok=True)
    (home / "bare_luigi.py").write_text(BARE)
    for number in range(classes):
        (home / "bare" / str(number)).touch()
    bare = [*LUIGI, "bare_luigi", "Many", "--count", str(classes), "--log-level", "INFO"]
    ours = [*LUIGI, "tasks", "DeployApp", "--folder", str(pictures), "--port", PORT]
    seconds(ours, home)
    times = [(seconds(bare, home), seconds(ours, home)) for _ in range(rounds)]
    greenr(home, "stop")
    theirs, own = map(statistics.median, zip(*times, strict=True))
    print(
        f"{classes:,} classes, nothing to do, of the processor: bare Luigi {theirs:.2f} s, ours {own:.2f} s, "
        f"ratio {own / theirs:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    home, pictures = (arguments.home.resolve() / name for name in ("home", "pictures"))
    make_pictures(arguments.photographs.resolve(), pictures, arguments.classes)
    deploy(home, pictures, "cold", PORT)
    nothing_to_do(home, pictures, arguments.classes, arguments.rounds)


if __name__ == "__main__":
    main()
