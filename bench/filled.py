"""Stages that hold many small files, for bench/staleness.py: only names, sizes and times matter there."""

import os
from pathlib import Path
from random import Random

import luigi
from PIL import Image

from greenr_luigi.staleness.stage import Stage


def pictures(folder: Path, classes: int) -> Path:
    """A folder of so many classes of 10 small pictures, no two of them alike."""
    random = Random(0)
    for number in range(10 * classes):
        path = folder / f"class{number // 10}" / f"{number % 10}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = Image.frombytes("RGB", (12, 12), random.randbytes(3 * 12 * 12))
        if not path.exists():
            noise.resize((48, 48), Image.Resampling.NEAREST).save(path)
    return folder


class Fill(Stage):
    count = luigi.IntParameter(description="How many files to write.")

    def work(self, out: Path) -> None:
        for number in range(self.count):
            folder = out / str(number % 4)
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(b"%d" % number)


class Divide(Stage):
    count = Fill.count

    def requires(self) -> Stage:
        return self.clone(Fill)

    def work(self, out: Path) -> None:
        for path in self.requires().output_folder.rglob("*.jpg"):
            os.link(path, out / path.name)


class Last(Stage):
    count = Fill.count

    def requires(self) -> Stage:
        return self.clone(Divide)

    def work(self, out: Path) -> None:
        (out / "model").write_text("")
