"""DownloadImages of two classes by one worker against two, and of one at once against in parts:
`python -m bench.workers PHOTOGRAPHS`.

Each side is a run of Luigi's command over a data root of its own; the sides are taken in turns, and the medians of the
rounds are compared. Of PHOTOGRAPHS, which has a folder a class, as many copies are made as are asked for, each with
bytes of its own at the end."""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import luigi

import tasks

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
        whole, part, one = 10 * asked.pictures, asked.pictures // 4, CLASSES[:1]
        sides = {
            "two classes, 1 worker": (1, whole, CLASSES),
            "two classes, 2 workers": (2, whole, CLASSES),
            "one at once": (1, whole, one),
            "one in 8 parts, 1 worker": (1, part, one),
            "one in 8 parts, 2 workers": (2, part, one),
        }
        took: dict[tuple[str, str], list[float]] = {}
        for number in range(asked.rounds):
            for side, (workers, size, labels) in sides.items():
                root = folder / f"{number} {side}"
                for what in ("all of it", "nothing to do", "one file more"):
                    more = folder / "pictures" / CLASSES[0] / "more.jpg"
                    if what == "one file more":
                        more.write_bytes(b"no picture")
                    took.setdefault((what, side), []).append(run(folder, root, workers, size, labels))
                more.unlink()
                shutil.rmtree(root)
    for (what, side), seconds in took.items():
        base = next(other for other, how in sides.items() if how[2] == sides[side][2])
        median = statistics.median(seconds)
        ratio = statistics.median(took[what, base]) / median
        print(f"{what:16}  {side:26}  {median:6.1f} s  {ratio:5.2f} times as fast as {base}")


class Download(luigi.WrapperTask):
    """So that Luigi's command can be asked for several classes and nothing behind them."""

    root = luigi.Parameter()
    folder = luigi.Parameter()
    labels = luigi.Parameter()
    shard_size = luigi.IntParameter()

    def requires(self) -> list[tasks.DownloadImages]:
        labels = self.labels.split(",")
        how = {"root": self.root, "folder": self.folder, "shard_size": self.shard_size, "source": "folder"}
        return [tasks.DownloadImages(label=label, **how) for label in labels]


def run(folder: Path, root: Path, workers: int, shard_size: int, labels: Sequence[str]) -> float:
    command = [sys.executable, "-m", "luigi", "--module", "bench.workers", "Download", "--local-scheduler"]
    command += [f"--workers={workers}", f"--labels={','.join(labels)}", f"--root={root}"]
    command += [f"--folder={folder / 'pictures'}", f"--shard-size={shard_size}"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
