"""Stages that hold many small files, for bench/staleness.py: only names, sizes and times matter there."""

import os
from pathlib import Path

import luigi

from greenr_luigi.staleness.stage import Stage


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
