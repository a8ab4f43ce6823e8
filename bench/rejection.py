"""What a run costs from nothing, with nothing to do, and after one picture was rejected; and whether the last gives the
same release, byte for byte, as a run from nothing that knows of the rejection.

python -m bench.rejection PHOTOGRAPHS HOME NUMBER [STEP ...]

PHOTOGRAPHS: a folder with one sub-folder a class. HOME: where all is kept, so that the steps may be done one by one, on
different days. NUMBER: of pictures; past those that are given, other crops, mirrored and darker ones of them. STEP:
some of pictures, cold, warm, rejected, anew (all, in that order).
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = ("pictures", "cold", "warm", "rejected", "anew")
PORT = "8767"


def make_pictures(photographs: Path, folder: Path, number: int) -> None:
    """As many of each class, each a variant of one of its photographs; the first of these as they are."""
    from PIL import ImageEnhance

    classes = sorted(path for path in photographs.iterdir() if path.is_dir())
    for kind, source in enumerate(classes):
        files, out = sorted(source.iterdir()), folder / source.name
        out.mkdir(parents=True, exist_ok=True)
        for n in range(number * kind // len(classes), number * (kind + 1) // len(classes)):
            place = n - number * kind // len(classes)
            target, file = out / f"{n:06d}.jpg", files[place % len(files)]
            if target.exists():
                continue
            if place < len(files):
                shutil.copy(file, target)
                continue
            chance, beside = random.Random(n), target.with_suffix(".part")
            image = part_of(file, chance, most_left_out=0.3, sides=(0.6, 0.7))
            ImageEnhance.Brightness(image).enhance(chance.uniform(0.7, 1.3)).save(beside, "JPEG", quality=90)
            beside.rename(target)


def part_of(file: Path, chance: random.Random, most_left_out: float, sides: tuple[float, float]) -> "Image":
    """A part of a photograph, maybe mirrored: up to so much of it is left out to the left and above, and its sides are
    so much of the whole ones."""
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        image = opened.convert("RGB")
    left, top = (chance.uniform(0, most_left_out) * side for side in image.size)
    width, height = (chance.uniform(*sides) * side for side in image.size)
    image = image.crop((int(left), int(top), int(left + width), int(top + height)))
    return ImageOps.mirror(image) if chance.random() < 0.5 else image


def greenr(home: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "greenr_luigi.cli", *arguments]
    subprocess.run(command, cwd=home, env=environment, check=True, stdout=subprocess.DEVNULL)


def deploy(home: Path, pictures: Path, step: str, port: str = PORT) -> None:
    """A run in `home`; prints what it and each of its stages took, and notes it in steps.json."""
    home.mkdir(parents=True, exist_ok=True)
    began, clock, before = time.time(), time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    options = ["--local-scheduler", "--folder", str(pictures), "--port", port]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    luigi = [sys.executable, "-m", "luigi", "--module", "tasks", "DeployApp", *options]
    with (home / "luigi.log").open("w") as log:
        subprocess.run(luigi, cwd=home, env=environment, check=True, stdout=log, stderr=log)
    whole, after = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    greenr(home, "stop")
    seconds = dict[str, float]()
    stamps = [path for path in (home / "data").glob("*/*/stamp.json") if path.parent.is_symlink()]
    for stamp in map(json.loads, sorted(path.read_text() for path in stamps)):
        if stamp["started"] > began:
            name = stamp["title"].partition("(")[0]
            seconds[name] = seconds.get(name, 0) + stamp["finished"] - stamp["started"]
    seconds["between the stages"] = whole - sum(seconds.values())
    release = (home / "data" / "releases" / "current").readlink().name
    print(f"{step}: {whole:.1f} s ({cpu:.0f} s of CPU, {after.ru_maxrss >> 10} MiB), release {release}")
    for name, taken in seconds.items():
        print(f"  {name:22} {taken:7.1f} s")
    (home / f"{step}.json").write_text(
        json.dumps({"release": release, "seconds": seconds, "whole": whole, "cpu": cpu})
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("number", type=int)
    parser.add_argument("steps", nargs="*", metavar="STEP", choices=[*STEPS, []])
    arguments = parser.parse_args()
    home, again = arguments.home.resolve() / "home", arguments.home.resolve() / "anew"
    pictures = arguments.home.resolve() / "pictures"
    for step in arguments.steps or STEPS:
        if step == "pictures":
            make_pictures(arguments.photographs.resolve(), pictures, arguments.number)
        elif step in ("cold", "warm"):
            deploy(home, pictures, step)
        elif step == "rejected":
            greenr(home, "start")  # As it is where a person rejects a picture; the other steps find none.
            dataset = home / "data" / "SplitDataset"
            # Not one that is kept for going back, of a rejection before.
            labels = next(path for path in dataset.glob("[!.]*/labels.csv") if "-" not in path.parent.name)
            files = [line.split(",")[0] for line in labels.read_text().splitlines()]
            greenr(home, "reject", Path(next(file for file in files if file.startswith("train/"))).stem)
            deploy(home, pictures, step)
        else:
            (again / "data").mkdir(parents=True, exist_ok=True)
            shutil.copy(home / "data" / "curation.csv", again / "data")
            deploy(again, pictures, step)
            same = {
                json.loads(path.read_text())["release"]
                for path in (home / "rejected.json", again / "anew.json")
            }
            print("the same bytes" if len(same) == 1 else f"OTHER BYTES: {same}")


if __name__ == "__main__":
    main()
