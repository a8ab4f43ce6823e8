"""`greenr predict` beside bare loops over the same pictures with the same ONNX model, on all cores.

`python -m bench.predict --root data FOLDER [--repeats 3] [--times 4] [--side 0]` prints the table of
docs/benchmarks.md. Each is a command of its own, start included; they take turns, and the median
counts. A bare loop opens a picture with Pillow, makes it RGB, squeezes it to the model's square, and runs the session:
in one thread, with a session on all cores; in a thread a core, with one session between them; in a process a core, with
one each. It looks for nothing, and ends at the first file that is no picture. `--times`: so many copies of the folder;
`--side`: brought to this longest side before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

sys.path.insert(0, os.fspath(Path(__file__).parent.parent))

CORES = len(os.sched_getaffinity(0))
WAYS = ("one thread", "a thread a core", "a process a core")
session: Any = None


def opened(model: str, threads: int) -> Any:
    global session
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session


def ask(path: str) -> tuple[int, float]:
    size = session.get_inputs()[0].shape[1]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    (probabilities,) = session.run(["probabilities"], {"pixels": pixels[None]})
    best = int(probabilities[0].argmax())
    return best, float(probabilities[0, best])


def bare(way: str, model: str, folder: str) -> None:
    paths = [f"{path}" for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    if way == "one thread":
        opened(model, CORES)
        print(len([ask(path) for path in paths]))
        return
    pool: Executor
    if way == "a thread a core":
        opened(model, 1)
        pool = ThreadPoolExecutor(CORES)
    else:
        pool = ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn"), opened, (model, 1))
    with pool:
        print(len([*pool.map(ask, paths, chunksize=8)]))


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds on the clock, and of all cores."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def copied(source: Path, target: Path, times: int, side: int) -> int:
    count = 0
    for number in range(times):
        for path in sorted(source.rglob("*")):
            if not path.is_file():
                continue
            copy = target / f"{number}" / f"{count}{path.suffix}"
            copy.parent.mkdir(exist_ok=True)
            if side:
                with Image.open(path) as image:
                    ImageOps.contain(image.convert("RGB"), (side, side)).save(copy, "JPEG", quality=90)
            else:
                copy.write_bytes(path.read_bytes())
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--side", type=int, default=0)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    from greenr_luigi.web import model

    # The file that the page would answer with.
    release = (options.root / "releases" / "current").resolve()
    integers = model.fast_integers() and (release / model.INTEGERS).exists()
    file = release / (model.INTEGERS if integers else model.FLOATS)
    if options.way:
        bare(options.way, f"{file}", f"{options.folder}")
        return
    with tempfile.TemporaryDirectory() as folder:
        count = copied(options.folder, Path(folder), options.times, options.side)
        ours = [
            sys.executable,
            "-m",
            "greenr_luigi.cli",
            "predict",
            folder,
            "--csv",
            "--root",
            f"{options.root}",
        ]
        loop = [sys.executable, "-m", "bench.predict", folder, "--root", f"{options.root}", "--way"]
        commands = {"greenr predict": ours, **{way: [*loop, way] for way in WAYS}}
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                runs[name].append(measured(command))
    clock = {name: statistics.median(seconds for seconds, _ in found) for name, found in runs.items()}
    used = {name: statistics.median(seconds for _, seconds in found) for name, found in runs.items()}
    print(f"{count} pictures, {CORES} cores, {file.name}\n")
    print("| | pictures a second | ms of a core a picture | ours to this, by the clock, by the cores |")
    print("|---|---:|---:|---:|")
    for name in commands:
        ratio = f"{clock[name] / clock['greenr predict']:.2f}, {used[name] / used['greenr predict']:.2f}"
        print(f"| {name} | {count / clock[name]:.0f} | {1000 * used[name] / count:.1f} | {ratio} |")


if __name__ == "__main__":
    main()
