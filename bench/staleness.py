"""What it costs to find that nothing is to be done.

    python bench/staleness.py [--dvc PATH_TO_DVC]
    python bench/staleness.py --classes HOME

Two parts: a whole `luigi` run of the complete graph beside one of a bare complete Luigi task; and `complete()` over
data sets of 1,000, 10,000 and 100,000 pictures, beside `dvc status` of the same tree where DVC is named.

With --classes a third one alone: a whole run of SplitDataset for 10, 100 and 1,000 classes of 10 pictures, beside one
of as many bare tasks. What that needs is made in the folder HOME first, in some minutes, and used again.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

BARE = """
import luigi
class Bare(luigi.Task):
    def output(self):
        return luigi.LocalTarget("bare.txt")

class One(luigi.Task):
    number = luigi.IntParameter()
    def output(self):
        return luigi.LocalTarget(f"bare/{self.number}")

class Many(luigi.WrapperTask):
    count = luigi.IntParameter()
    def requires(self):
        return [One(number=number) for number in range(self.count)]
"""
LUIGI = [sys.executable, "-m", "luigi", "--local-scheduler", "--module"]


def seconds(command: list[str], home: Path) -> float:
    """Of the processor, which other work on the machine lengthens least. Modules are compiled once, as where a person
    runs them, whatever is set here."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{home}{os.pathsep}{REPOSITORY}",
        "PYTHONPYCACHEPREFIX": f"{home}/compiled",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def whole_runs(home: Path, rounds: int = 15) -> None:
    (home / "bare_luigi.py").write_text(BARE)
    (home / "bare.txt").write_text("")
    bare = [*LUIGI, "bare_luigi", "Bare", "--log-level", "INFO"]
    ours = [*LUIGI, "tasks", "DeployApp", "--source", "sample", "--limit", "60", "--port", "8765"]
    subprocess.run(
        ours, cwd=home, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=True, capture_output=True
    )
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(rounds):
        times["bare"].append(seconds(bare, home))
        times["ours"].append(seconds(ours, home))
    subprocess.run(
        [sys.executable, "-m", "greenr_luigi.cli", "stop"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"whole run, nothing to do, of the processor: bare Luigi {medians['bare']:.3f} s, "
        f"ours {medians['ours']:.3f} s, ratio {medians['ours'] / medians['bare']:.2f}"
    )


def many_classes(home: Path, count: int, rounds: int) -> None:
    from bench.filled import pictures

    (home / "bare").mkdir(parents=True, exist_ok=True)
    (home / "bare_luigi.py").write_text(BARE)
    for number in range(count):
        (home / "bare" / str(number)).touch()
    bare = [*LUIGI, "bare_luigi", "Many", "--count", str(count), "--log-level", "INFO"]
    ours = [*LUIGI, "tasks", "SplitDataset", "--folder", str(pictures(home / "pictures", count))]
    seconds(ours, home)
    times = [(seconds(bare, home), seconds(ours, home)) for _ in range(rounds)]
    theirs, own = map(statistics.median, zip(*times, strict=True))
    print(
        f"{count:5,} classes, whole run, nothing to do, of the processor: bare Luigi {theirs:.2f} s, ours {own:.2f} s, "
        f"ratio {own / theirs:.1f}"
    )


def many_files(home: Path, count: int, dvc: str | None) -> None:
    """The stages that hold pictures, with `count` small files that stand for them; only names and sizes matter here."""
    from bench.filled import Divide, Fill, Last
    from greenr_luigi.staleness import stage

    last = Last(root=home, count=count)
    for task in (Fill(root=home, count=count), Divide(root=home, count=count), last):
        task.run()
    stage.forget()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    assert last.complete()
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    each = 1e6 * cpu / count / 2
    print(
        f"complete(), two stages of {count:7,} pictures: {cpu:.2f} s of CPU, {took:.2f} s, {each:.1f} us a file"
    )
    if dvc:
        tree = home / "dvc"
        tree.mkdir()
        Divide(root=home, count=count).output_folder.resolve().rename(tree / "pictures")
        for command in (
            [dvc, "init", "--no-scm", "-q"],
            [dvc, "add", "-q", "pictures"],
            [dvc, "status", "-q"],
        ):
            start = time.perf_counter()
            subprocess.run(command, cwd=tree, check=True, capture_output=True)
            took = time.perf_counter() - start
        print(f"  dvc status of one such folder: {took:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dvc", help="the dvc program to compare with")
    parser.add_argument("--classes", type=Path, help="the folder in which classes are made")
    arguments = parser.parse_args()
    if home := arguments.classes:
        for count in (10, 100, 1_000):
            many_classes(home.absolute() / str(count), count, rounds=5)
        return
    with tempfile.TemporaryDirectory() as home:
        whole_runs(Path(home))
    for count in (1_000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as home:
            many_files(Path(home), count, arguments.dvc)


if __name__ == "__main__":
    main()
