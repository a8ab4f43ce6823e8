"""Whether training over processes is as good as in one, and what it costs: `python -m bench.distributed PHOTOS`.

PHOTOS has a folder a class. So many pictures of each class, drawn by chance for each repeat, are learned from, and
others judged; one process and several in turns, on the same pictures and from the same seed."""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.progress import quiet

OPTIONS = {"arch": "tf_efficientnet_lite0", "epochs": 12, "recipe": "finetune"}


def measure(folder: Path, processes: int, seed: int, size: int) -> dict[str, float]:
    """In a process of its own, which glibc and caches start fresh in."""
    from greenr_luigi.dataset import pixels
    from greenr_luigi.dataset.pixels import read_batches
    from greenr_luigi.dataset.rows import class_numbers
    from greenr_luigi.training import architectures, features, launch
    from greenr_luigi.training.train import Hyperparameters

    out = folder / f"{processes}"
    out.mkdir()
    start = time.perf_counter()
    how = Hyperparameters(seed=seed, image_size=size, **OPTIONS)
    launch.train(folder, out, how, processes=processes, torchrun=launch.STANDALONE, on_progress=quiet)
    seconds = time.perf_counter() - start
    # Of the largest process, in MiB.
    whose = resource.RUSAGE_SELF if processes == 1 else resource.RUSAGE_CHILDREN
    memory = resource.getrusage(whose).ru_maxrss // 1024
    import torch

    learn, training = architectures.load_model(out)
    model = learn.model.eval()
    rows = pixels.read_rows(folder, "test")
    y = torch.tensor(class_numbers(rows, training.classes))
    with torch.inference_mode():
        batches = read_batches([folder / row.file for row in rows], size, 20)
        said = torch.cat([model(features.normalized(b, training.mean, training.std)) for b in batches])
    wrong = int((said.argmax(1) != y).sum())
    loss = float(torch.nn.functional.cross_entropy(said, y))
    return {"wrong": wrong, "of": len(y), "loss": loss, "seconds": seconds, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--learned", type=int, default=40, help="pictures a class to learn from")
    parser.add_argument("--judged", type=int, default=40, help="pictures a class to judge by")
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    rows = []
    for repeat in range(asked.repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw(folder, asked, repeat)
            pair = []
            # Which is first takes turns, too.
            for processes in sorted((1, asked.processes), reverse=bool(repeat % 2)):
                command = [
                    sys.executable,
                    "-m",
                    "bench.distributed",
                    "--measure",
                    name,
                    *map(str, (processes, repeat, asked.size)),
                ]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                pair.append((processes, json.loads(done.stdout)))
                print(repeat, *pair[-1], flush=True)
            rows.append(dict(pair))
    for what in ("wrong", "loss", "seconds", "memory"):
        one, several = ([row[n][what] for row in rows] for n in (1, asked.processes))
        differences = [b - a for a, b in zip(one, several, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        print(
            f"{what}: {statistics.mean(one):.3f} and {statistics.mean(several):.3f}; "
            f"difference {statistics.mean(differences):+.3f}, standard error {error:.3f}"
        )


def draw(folder: Path, asked: argparse.Namespace, seed: int) -> None:
    """A SplitDataset folder of links."""
    lines = ["file,label,sha256,side"]
    for kind in sorted(path for path in asked.photos.iterdir() if path.is_dir()):
        valid = max(4, asked.learned // 5)
        sides = ["train"] * asked.learned + ["valid"] * valid + ["test"] * asked.judged
        chosen = random.Random(seed).sample(sorted(kind.glob("*.jpg")), len(sides))
        for picture, side in zip(chosen, sides, strict=True):
            file = f"{side}/{kind.name}/{picture.name}"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).symlink_to(picture.resolve())
            lines.append(f"{file},{kind.name},{'0' * 64},{side}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        folder, *numbers = sys.argv[2:]
        print(json.dumps(measure(Path(folder), *map(int, numbers))))
    else:
        main()
