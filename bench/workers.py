"""One worker against two, and a large class at once against in parts: `python bench/workers.py PHOTOGRAPHS`.

Each side is a run of Luigi's command over a data root of its own; the sides are taken in turns, and the medians of the
rounds are compared. Of PHOTOGRAPHS, which has a folder a class, as many copies are made as are asked for, each with
bytes of its own at the end."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES = ("dandelion", "grass")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--pictures", type=int, default=1500, help="of each of two classes")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label in CLASSES:
            photographs = itertools.cycle(sorted((asked.photographs / label).glob("*.jpg")))
            (folder / "pictures" / label).mkdir(parents=True)
            for number in range(asked.pictures):
                copy = folder / "pictures" / label / f"{number}.jpg"
                copy.write_bytes(next(photographs).read_bytes() + f"{label} {number}".encode())
        whole = 10 * asked.pictures
        part = asked.pictures // 4
        sides = {
            "at once, 1 worker": (1, whole),
            "at once, 2 workers": (2, whole),
            "8 parts a class, 1 worker": (1, part),
            "8 parts a class, 2 workers": (2, part),
        }
        took: dict[tuple[str, str], list[float]] = {}
        for number in range(asked.rounds):
            for side, (workers, size) in sides.items():
                root = folder / f"{number} {side}"
                for what in ("all of it", "nothing to do", "one file more"):
                    more = folder / "pictures" / CLASSES[0] / "more.jpg"
                    if what == "one file more":
                        more.write_bytes(b"no picture")
                    took.setdefault((what, side), []).append(run(folder, root, workers, size))
                more.unlink()
                shutil.rmtree(root)
    base = next(iter(sides))
    for (what, side), seconds in took.items():
        median = statistics.median(seconds)
        ratio = statistics.median(took[what, base]) / median
        print(f"{what:16}  {side:26}  {median:6.1f} s  {ratio:5.2f} times as fast as {base}")


def run(folder: Path, root: Path, workers: int, shard_size: int) -> float:
    command = [sys.executable, "-m", "luigi", "--module", "tasks", "SplitDataset", "--local-scheduler"]
    command += [f"--workers={workers}", f"--classes={','.join(CLASSES)}", "--source=folder", f"--root={root}"]
    command += [f"--folder={folder / 'pictures'}", f"--DownloadImages-shard-size={shard_size}"]
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
