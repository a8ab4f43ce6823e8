"""What a training costs beside other work, by how its threads wait for each other: `python -m bench.beside PHOTOS`.

PHOTOS has a folder a class. The recipe `finetune`, cut short, alone and beside programs that keep a core busy each. In
turns, each in a process of its own, as OpenMP reads once what it is told."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

#: By name, what the environment says of it.
WAYS: dict[str, dict[str, str]] = {
    "threads wait busily (OpenMP's default)": {},
    "threads leave their core (ours)": {"OMP_WAIT_POLICY": "PASSIVE"},
}
LOAD = [sys.executable, "-c", "while True: pass"]


def measure(photos: Path) -> float:
    from bench.training import Photographs, finetuned
    from greenr_luigi.training import finetuning

    finetuning.VIEWS, finetuning.EPOCHS = 2, 2
    found = Photographs(photos)
    _, (seconds, _) = finetuned(found, next(found.folds(1)), 0)
    return float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(measure(options.photos))
        return
    print("| beside | " + " | ".join(WAYS) + " | ratio |\n| --- | ---: | ---: | ---: |")
    os.environ.pop("OMP_WAIT_POLICY", None)
    command = [sys.executable, "-m", "bench.beside", "--measure", str(options.photos)]
    for beside, others in {
        "nothing": [],
        "a busy program": [LOAD],
        "two": [LOAD, LOAD],
        "another such training": [command],
    }.items():
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(options.repeats):
            for name, told in WAYS.items():
                environment = {**os.environ, **told}
                with ExitStack() as ended:
                    for other in others:
                        process = subprocess.Popen(other, env=environment, stdout=subprocess.DEVNULL)
                        ended.callback(ended.enter_context(process).kill)
                    done = subprocess.run(
                        command, env=environment, check=True, capture_output=True, text=True
                    )
                seconds[name].append(float(done.stdout.splitlines()[-1]))
        before, after = (statistics.median(each) for each in seconds.values())
        print(f"| {beside} | {before:.1f} s | {after:.1f} s | {before / after:.1f} |", flush=True)


if __name__ == "__main__":
    main()
